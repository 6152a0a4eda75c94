"""A pipeline's twin: the same parts in another object, some of which answer otherwise."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.policy.pipeline.made_up import numbers_of
from zoo.policy.pipeline.names import is_network
from zoo.policy.pipeline.trees import on_tensors

_OF_IMAGES = (
    ("vae", "encode"),
    ("feature_extractor", "preprocess"),
    ("image_processor", "preprocess"),
    ("image_processor", "resize"),
    ("video_processor", "preprocess"),
    ("video_processor", "resize"),
)
"""Of parts, what a pipeline does to its input images anew in every run."""
_OF_PROMPTS = (("connectors", "forward"),)
"""What a pipeline does in every run to what its text encoders gave, and to nothing else: LTX-2's
networks between them and its transformer."""

Remember = Callable[[str, Callable[..., Any]], Callable[..., Any]]
"""A function by its name, and what takes its place."""


def twin_of(real: Any, device: Callable[[], torch.device]) -> Any:
    """The same parts in another object, which nothing moves between devices."""
    from diffusers import ModelMixin

    twin = copy.copy(real)
    cls: Any = type(real)
    # The pipeline's own looks at every module of every part, several times a call.
    here = property(lambda _: device())
    members = {"_execution_device": here, "device": here, "__module__": cls.__module__}
    twin.__class__ = type(cls.__name__, (cls,), members)
    twin.set_progress_bar_config(disable=True)
    parts = {name: part for name, part in real.components.items() if not is_network(part)}
    twin.__dict__ |= {
        name: _known(part) for name, part in parts.items() if isinstance(part, ModelMixin)
    }
    vae = getattr(real, "vae", None)
    for method in ("encode", "decode"):
        if hasattr(vae, method):
            _replace(twin, "vae", method, _typed(getattr(vae, method), vae, device))
    for name, part in parts.items():
        # What is between the text encoders and the network: the connectors of LTX-2, say.
        if isinstance(part, nn.Module) and type(part).__module__.startswith("diffusers.pipelines."):
            known = getattr(twin, name)
            _replace(twin, name, "forward", partial(_narrowed, part.forward, known))
    return twin


def _known(part: Any) -> Any:
    """A copy of a part that says its type at once.

    Diffusers looks through all modules of a part for it and for hooks that move the part, several
    times a step, which may take longer than all else beside the networks. No part here has hooks.
    """
    made, cls, dtype = copy.copy(part), type(part), part.dtype
    members = {"dtype": dtype, "modules": lambda self: iter((self,)), "__module__": cls.__module__}
    made.__class__ = type(cls.__name__, (cls,), members)
    return made


def _narrowed(function: Callable[..., Any], part: Any, /, *args: Any, **kwargs: Any) -> Any:
    """A part's own, for numbers of any type."""

    def narrow(leaf: Tensor) -> Tensor:
        return leaf.to(part.dtype) if leaf.is_floating_point() else leaf

    return function(*on_tensors(list(args), narrow), **on_tensors(kwargs, narrow))


def _typed(
    function: Callable[..., Any], part: Any, device: Callable[[], torch.device]
) -> Callable[..., Any]:
    """A part's method for numbers of any type: what comes to it is mostly float32.

    A part that is shapes alone gives made-up numbers of a picture, and where a pipeline works with
    numbers of all else: some send pictures to the part's own device.
    """

    def typed(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if part.device.type != "meta":
            return function(x.to(part.dtype), *args, **kwargs)
        made = function(x.to("meta", part.dtype), *args, **kwargs)
        return made if x.is_meta and device().type == "meta" else numbers_of(made)

    return typed


def remember_images(twin: Any, remember: Remember) -> None:
    """What the twin does to its input images goes through `remember`."""
    if hasattr(twin, "encode_image"):
        twin.__dict__["encode_image"] = remember("encode_image", twin.encode_image)
    _remember_parts(twin, _OF_IMAGES, remember)


def remember_prompts(twin: Any, remember: Remember) -> None:
    """What the twin does to its prompts' embeddings goes through `remember`."""
    _remember_parts(twin, _OF_PROMPTS, remember)


def _remember_parts(twin: Any, methods: Sequence[tuple[str, str]], remember: Remember) -> None:
    for part, method in methods:
        inner = getattr(twin, part, None)
        if hasattr(inner, method):
            _replace(twin, part, method, remember(f"{part}.{method}", getattr(inner, method)))


def encode_most_probable(twin: Any) -> None:
    """The twin's autoencoder gives of a picture the most probable latent, and draws none."""
    if getattr(twin, "vae", None) is not None:
        _replace(twin, "vae", "encode", partial(_most_probable, twin.vae.encode))


def _most_probable(encode: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    encoded = encode(*args, **kwargs)
    distribution = getattr(encoded, "latent_dist", None)
    if distribution is not None:
        distribution.sample = lambda generator=None: distribution.mode()
    return encoded


def _replace(twin: Any, part: str, method: str, function: Callable[..., Any]) -> None:
    inner = copy.copy(getattr(twin, part))
    object.__setattr__(inner, method, function)
    twin.__dict__[part] = inner
