"""A network that is trained whole in float32 and computes in half precision.

Each module reads its own parameters and buffers cast to that type, whenever it reads them; what an
optimizer, a checkpoint and an average see are the float32 ones, and their gradients are float32.
So it computes, bit for bit, what the same network does whose weights are in half precision, with as
many activations; torch's autocast keeps many in float32 (1.8 times the bytes for SD3.5 Medium).
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


def compute_in(network: nn.Module, dtype: torch.dtype) -> None:
    """From now on its modules read their numbers in that type. Copies of it do so, too."""
    for module in network.modules():
        own = {**module._parameters, **module._buffers}
        names = tuple(name for name, t in own.items() if t is not None and t.is_floating_point())
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
