"""The components of a tiny pipeline, each of the class that its pipeline's constructor names."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zoo.policy.tiny_pipelines.known import Known, NoTinyError
from zoo.policy.tiny_pipelines.networks import latent_channels, louder, network, scheduler
from zoo.policy.tiny_pipelines.readers import plain, readers, words_of
from zoo.policy.tiny_pipelines.slots import DENOISERS, slots
from zoo.policy.tiny_pipelines.table import CLIP_POSITIONS, PIPELINES, QUIET, TEXT_LAYERS
from zoo.policy.tiny_pipelines.text_encoders import encoder, width
from zoo.policy.tiny_pipelines.variants import Variant

_AUTOENCODERS = ("vae", "vqvae", "movq", "vqgan")


def components(pipeline: Any, variant: Variant) -> dict[str, Any]:
    """Random components, and options, by their names in the pipeline's constructor.

    Raises:
        NoTinyError: there is no tiny component of a class, or no network that denoises.
    """
    found = slots(pipeline, variant.parts)
    denoiser = next((cls for name, cls in found.items() if name.startswith(DENOISERS)), None)
    if denoiser is None:
        raise NoTinyError(f"{pipeline.__name__}: it has no network that denoises")
    autoencoder = next((found[name] for name in _AUTOENCODERS if name in found), None)
    words = readers(found)
    layers = _text_layers(pipeline)
    made = _encoders(found, words, _num_layers(layers, denoiser), denoiser)
    known = replace(
        _widths(made),
        name=pipeline.__name__,
        slots=found,
        layers=layers,
        latents=latent_channels(pipeline, autoencoder, denoiser),
        tokens=max((len(plain(reader)) for reader in words.values()), default=0),
    )
    for name, cls in found.items():
        if _is(cls, "diffusers", "ModelMixin"):
            new = network(cls, known, variant.networks.get(name, {}))
            quiet = name.startswith(DENOISERS) or cls.__name__ in QUIET
            made[name] = louder(new) if quiet else new
        elif "scheduler" in name:
            made[name] = scheduler(cls, pipeline, denoiser, variant.networks.get(name))
    made |= words
    options = {**PIPELINES.get(denoiser.__name__, {}), **variant.options}
    return {**_without(pipeline, made), **made, **options}


def _encoders(
    found: Mapping[str, Any], words: Mapping[str, Any], layers: int | None, denoiser: Any
) -> dict[str, Any]:
    """Of texts and images, and what prepares images for them; and guidance."""
    import diffusers

    made: dict[str, Any] = {}
    positions = CLIP_POSITIONS.get(denoiser.__name__, 77)
    for name, cls in found.items():
        if _is(cls, "transformers", "PreTrainedModel"):
            reader = words_of(words, name)
            made[name] = encoder(cls, reader, layers=layers, positions=positions)
        elif _is(cls, "transformers", "ImageProcessingMixin"):
            made[name] = cls()
        elif _is(cls, "diffusers.guiders", "BaseGuidance"):
            made[name] = diffusers.ClassifierFreeGuidance()
    return made


def _is(cls: Any, library: str, base: str) -> bool:
    return issubclass(cls, getattr(importlib.import_module(library), base))


def _text_layers(pipeline: Any) -> tuple[int, ...]:
    """The text encoder's layers whose outputs the pipeline takes, where it says so by number."""
    parameter = inspect.signature(pipeline.__call__).parameters.get("text_encoder_out_layers")
    if parameter is not None:
        return tuple(parameter.default)
    module = vars(sys.modules[pipeline.__module__])
    named = next((value for name, value in module.items() if name.endswith("_LAYERS")), ())
    # Where there are several groups of them, each is an input of its own.
    return max(named) if named and isinstance(named[0], tuple) else tuple(named)


def _num_layers(taken: tuple[int, ...], denoiser: Any) -> int | None:
    """Of the text encoder: so many that it has those that are taken, or as few as usual."""
    return max(taken) + 1 if taken else TEXT_LAYERS.get(denoiser.__name__)


def _widths(made: Mapping[str, Any]) -> Known:
    """Of the text encoders, where CLIP's are put side by side, and of an image encoder."""
    texts = [model for name, model in made.items() if name.startswith("text_encoder")]
    clips = [width(model) for model in texts if "CLIP" in type(model).__name__]
    others = [width(model) for model in texts if "CLIP" not in type(model).__name__]
    images = (width(model) for name, model in made.items() if name.startswith("image_encoder"))
    return Known(
        words=others[0] if others else sum(clips),
        second=others[-1] if others else 0,
        pooled=sum(clips),
        image=next(images, 0),
    )


def _without(pipeline: Any, made: Mapping[str, Any]) -> dict[str, Any]:
    """What the constructor must be told of components that are left out."""
    parameters = list(inspect.signature(pipeline.__init__).parameters.values())[1:]
    left_out: dict[str, Any] = {
        parameter.name: None
        for parameter in parameters
        if parameter.name not in made and parameter.default is inspect.Parameter.empty
    }
    if any(parameter.name == "requires_safety_checker" for parameter in parameters):
        left_out["requires_safety_checker"] = False
    return left_out
