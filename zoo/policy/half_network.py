"""A network that is trained whole in float32 and computes in half precision.

Each module reads its own parameters and buffers cast to that type, whenever it reads them, but for
those that diffusers keeps in float32 as well. What an optimizer, a checkpoint and an average see
are the float32 ones, and their gradients are float32. So it computes what the network does that is
loaded in half precision, bit for bit, and its activations are those. Torch's autocast keeps more of
them in float32: 1.3 times the bytes for SD3.5 Medium (benchmarks/counts.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


def narrowed(network: nn.Module) -> dict[str, Tensor]:
    """What diffusers casts of a network as it loads it in another type, by name.

    Not what the network's class keeps in float32 (Wan's times and norms, say), and not what is in
    no file: the frequencies of positions.
    """
    kept = {
        word
        for module in network.modules()
        for word in getattr(module, "_keep_in_fp32_modules", None) or ()
    }
    return {
        name: value
        for name, value in network.state_dict(keep_vars=True).items()
        if value.is_floating_point() and not kept & {*name.split(".")}
    }


@contextmanager
def made_in(dtype: torch.dtype) -> Iterator[None]:
    """Inside, numbers whose type is not said are of this one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def compute_in(network: nn.Module, dtype: torch.dtype) -> None:
    """From now on its modules read their numbers in that type. Copies of it do so, too."""
    all_names = narrowed(network)
    for path, module in network.named_modules():
        own = (*module._parameters, *module._buffers)
        names = tuple(name for name in own if f"{path}.{name}".removeprefix(".") in all_names)
        if names:
            cls: Any = type(module)
            module.__class__ = _casting(cls, names, dtype, bool(module._modules))


@cache
def _casting(
    cls: type[nn.Module], names: tuple[str, ...], dtype: torch.dtype, has_parts: bool
) -> type[nn.Module]:
    """A class of the same name, in which what has these names is cast as it is read.

    What has no parts is given its inputs in that type: beside a product of half precision there may
    be numbers of another, a time, say.
    """

    def cast(name: str) -> property:
        def read(module: nn.Module) -> Tensor:
            kept = module._parameters if name in module._parameters else module._buffers
            value = kept[name]
            assert value is not None
            return value.to(dtype)

        return property(read)

    def forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        narrow = (_narrowed(value, dtype) for value in args)
        named = {key: _narrowed(value, dtype) for key, value in kwargs.items()}
        return cls.forward(module, *narrow, **named)

    members: dict[str, Any] = {name: cast(name) for name in names}
    if not has_parts:
        members["forward"] = forward
    members |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), members)


def _narrowed(value: Any, dtype: torch.dtype) -> Any:
    is_wide = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(dtype) if is_wide else value
