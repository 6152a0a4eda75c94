"""A pipeline's twin: the same parts in another object, some of which answer otherwise."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.policy.pipeline.made_up import numbers_of
from zoo.policy.pipeline.names import is_network
from zoo.policy.pipeline.trees import on_tensors


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
            replace_method(twin, "vae", method, _typed(getattr(vae, method), vae, device))
    for name, part in parts.items():
        # What is between the text encoders and the network: the connectors of LTX-2, say.
        if isinstance(part, nn.Module) and type(part).__module__.startswith("diffusers.pipelines."):
            known = getattr(twin, name)
            replace_method(twin, name, "forward", partial(_narrowed, part.forward, known))
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


def encode_most_probable(twin: Any) -> None:
    """The twin's autoencoder gives of a picture the most probable latent, and draws none."""
    if getattr(twin, "vae", None) is not None:
        replace_method(twin, "vae", "encode", partial(_most_probable, twin.vae.encode))


def _most_probable(encode: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    encoded = encode(*args, **kwargs)
    distribution = getattr(encoded, "latent_dist", None)
    if distribution is not None:
        distribution.sample = lambda generator=None: distribution.mode()
    return encoded


def replace_method(twin: Any, part: str, method: str, function: Callable[..., Any]) -> None:
    """In a copy of the part, which is the twin's alone."""
    inner = copy.copy(getattr(twin, part))
    object.__setattr__(inner, method, function)
    twin.__dict__[part] = inner
