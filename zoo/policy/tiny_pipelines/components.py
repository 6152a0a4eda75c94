"""The components of a tiny pipeline, each made from the class that its pipeline's constructor names."""

import enum
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from zoo.policy.tiny_pipelines import text_encoders
from zoo.policy.tiny_pipelines.known import Known
from zoo.policy.tiny_pipelines.processors import still_processor
from zoo.policy.tiny_pipelines.shrink import WIDTH, defaults, shrink
from zoo.policy.tiny_pipelines.table import (
    CHOICES,
    CLIP_POSITIONS,
    LATENTS,
    NETWORKS,
    PIPELINES,
    SCHEDULERS,
)
from zoo.policy.tiny_pipelines.tokenizers import tokenizer

_DENOISERS = ("transformer", "unet", "prior", "decoder")
_AUTOENCODERS = ("vae", "vqvae", "movq", "vqgan")
_NEEDED = ("text_encoder", "tokenizer")
"""What is made although a pipeline can do without."""

_STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""As in the published configurations."""


def slots(pipeline: Any) -> dict[str, Any]:
    """The components that a pipeline's constructor takes and needs, with their classes."""
    parameters = list(inspect.signature(pipeline.__init__).parameters.values())[1:]
    hints = _hints(pipeline)
    optional = pipeline._optional_components
    choices = _choices(hints)
    found = {}
    for parameter in parameters:
        name = parameter.name
        cls = choices.get(name) or _chosen(hints.get(name))
        if cls is None or cls in (bool, int, float, str, dict, list, tuple):
            continue
        spare = parameter.default is None or name in optional
        if not spare or name == "transformer" or name.startswith(_NEEDED):
            found[name] = text_encoders.concrete(cls)
    return found


def _hints(pipeline: Any) -> Mapping[str, Any]:
    try:
        return get_type_hints(pipeline.__init__)
    except NameError:
        return dict(pipeline.__init__.__annotations__)


def _choices(hints: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the table says of the classes that a denoiser's pipeline may have."""
    import diffusers

    classes = (_chosen(hint) for name, hint in hints.items() if name.startswith(_DENOISERS))
    named = [CHOICES.get(cls.__name__, {}) for cls in classes if cls is not None]
    return {slot: getattr(diffusers, name) for c in named for slot, name in c.items()}


def _chosen(hint: Any) -> Any:
    """The first class of an annotation."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((_chosen(arg) for arg in get_args(hint) if arg is not type(None)), None)
    return hint if inspect.isclass(hint) else None


def components(pipeline: Any) -> dict[str, Any]:
    """Random components, by their names in the pipeline's constructor.

    Raises:
        NotImplementedError: there is no tiny component of a class.
    """
    import diffusers

    found = slots(pipeline)
    known = Known(pipeline, found)
    denoiser = next(cls for name, cls in found.items() if name.startswith(_DENOISERS))
    made: dict[str, Any] = {}
    words = dict(_tokenizers(found))
    layers = _text_layers(pipeline)
    for name, cls in found.items():
        if _is(cls, "transformers", "PreTrainedModel"):
            reader = _words(words, name)
            made[name] = text_encoders.encoder(
                cls,
                reader,
                layers=max(layers, default=None),
                positions=CLIP_POSITIONS.get(denoiser.__name__, 77),
            )
        elif _is(cls, "transformers", "ImageProcessingMixin"):
            made[name] = cls()
        elif _is(cls, "diffusers.guiders", "BaseGuidance"):
            made[name] = diffusers.ClassifierFreeGuidance()
    known = replace(_read(known, made), layers=layers)
    known = replace(
        known, tokens=max((len(_plain(reader)) for reader in words.values()), default=0)
    )
    known = replace(known, latents=_latents(found, denoiser, pipeline))
    for name, cls in found.items():
        if _is(cls, "diffusers", "ModelMixin"):
            made[name] = _network(cls, known)
            if name.startswith(_DENOISERS):
                _louder(made[name])
        elif "scheduler" in name:
            made[name] = _scheduler(cls, denoiser, pipeline)
    made |= {name: made.get(name) or words[name] for name in found if name in words}
    return {**made, **_switches(pipeline, made), **PIPELINES.get(denoiser.__name__, {})}


def _is(cls: Any, library: str, base: str) -> bool:
    import importlib

    return issubclass(cls, getattr(importlib.import_module(library), base))


def _tokenizers(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    import transformers

    base = transformers.PreTrainedTokenizerBase
    unsaid = (transformers.AutoTokenizer, transformers.AutoProcessor, base)
    for name, cls in found.items():
        if issubclass(cls, transformers.ProcessorMixin):
            yield name, still_processor(cls, tokenizer(transformers.Qwen2Tokenizer))
        elif name.startswith("tokenizer"):
            if cls in unsaid:
                cls = _its_tokenizer(found[name.replace("tokenizer", "text_encoder")])
            yield name, tokenizer(cls)


def _its_tokenizer(reader: Any) -> Any:
    """The class of tokenizers that a text encoder is published with."""
    import transformers

    if "T5Encoder" in reader.__name__:
        return transformers.T5Tokenizer
    qwen = reader.__name__.startswith("Qwen")
    return transformers.Qwen2Tokenizer if qwen else transformers.PreTrainedTokenizerFast


def _words(readers: Mapping[str, Any], encoder: str) -> Any:
    """The tokenizer of a text encoder, which may be part of a processor; nothing of others."""
    name = encoder.replace("text_encoder", "tokenizer")
    if not encoder.startswith("text_encoder"):
        return None
    found = readers.get(name) or next(reader for name, reader in readers.items() if "proc" in name)
    return _plain(found)


def _plain(reader: Any) -> Any:
    """The tokenizer of a processor, or the tokenizer itself."""
    return getattr(reader, "tokenizer", reader)


def _text_layers(pipeline: Any) -> tuple[int, ...]:
    """The text encoder's layers whose outputs the pipeline takes, where it says so by number."""
    parameters = inspect.signature(pipeline.__call__).parameters
    parameter = parameters.get("text_encoder_out_layers")
    return tuple(parameter.default) if parameter else ()


def _read(known: Known, made: Mapping[str, Any]) -> Known:
    """With the widths of the text encoders: CLIP's are put side by side."""
    texts = {name: model for name, model in made.items() if name.startswith("text_encoder")}
    clips = [text_encoders.width(m) for m in texts.values() if "CLIP" in type(m).__name__]
    others = [text_encoders.width(m) for m in texts.values() if "CLIP" not in type(m).__name__]
    words = others[0] if others else sum(clips)
    images = (model for name, model in made.items() if name.startswith("image_encoder"))
    return replace(
        known,
        words=words,
        second=others[-1] if others else 0,
        pooled=sum(clips),
        image=next((int(model.config.hidden_size) for model in images), 0),
    )


def _latents(found: Mapping[str, Any], denoiser: Any, pipeline: Any) -> int:
    """The autoencoder's own channels, or those that the denoiser expects."""
    vae = next((cls for name, cls in found.items() if name.startswith(_AUTOENCODERS)), None)
    own = defaults(vae) if vae is not None and vae.__name__ != "AutoencoderKL" else {}
    for name in ("latent_channels", "z_dim", "z_channels"):
        if name in own:
            return int(own[name])
    if denoiser.__name__ in LATENTS:
        return LATENTS[denoiser.__name__]
    packed = 4 if hasattr(pipeline, "_pack_latents") else 1
    return int(defaults(denoiser)["in_channels"]) // packed


def _network(cls: Any, known: Known) -> Any:
    """A random network of diffusers: its default configuration, shrunk, and what the table says."""
    own = NETWORKS[cls.__name__](known) if cls.__name__ in NETWORKS else {}
    return cls(**{**shrink(defaults(cls)), **own})


def _scheduler(cls: Any, denoiser: Any, pipeline: Any) -> Any:
    import diffusers

    if issubclass(cls, enum.Enum):
        return diffusers.DDIMScheduler(**_STABLE_DIFFUSION)
    options = dict(SCHEDULERS.get(denoiser.__name__, {}))
    if cls is diffusers.FlowMatchEulerDiscreteScheduler:
        module = vars(sys.modules[pipeline.__module__])
        dynamic = "calculate_shift" in module or "compute_empirical_mu" in module
        options = {"use_dynamic_shifting": True} if dynamic else {"shift": 3.0}
    return cls(**{k: v for k, v in options.items() if k in defaults(cls)})


def _switches(pipeline: Any, made: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a pipeline's constructor that follow from what it is made of."""
    parameters = inspect.signature(pipeline.__init__).parameters
    absent = {
        name: None
        for name, p in parameters.items()
        if name != "self" and name not in made and p.default is inspect.Parameter.empty
    }
    if "requires_safety_checker" in parameters:
        absent["requires_safety_checker"] = False
    return absent


def _louder(network: Any) -> None:
    """As drawn, a last layer or what blocks add is small or zero: no prompt makes a difference."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            if bool((parameter == 0).all()):
                parameter.data.normal_(std=parameter[0].numel() ** -0.5)
            parameter.data.mul_(2)
