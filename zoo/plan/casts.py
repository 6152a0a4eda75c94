"""Torch's autocast on the meta device, where torch has none: which types tensors are of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_NARROW = (
    (F, "linear"), (F, "conv1d"), (F, "conv2d"), (F, "conv3d"), (F, "scaled_dot_product_attention"),
    (torch, "matmul"), (torch, "bmm"), (torch, "baddbmm"),
)  # fmt: skip
"""What autocast computes in the type that it casts to, of what networks of diffusers call."""
_WIDE = ((F, "layer_norm"), (F, "group_norm"), (F, "rms_norm"), (F, "softmax"))
"""What it computes in float32 on a GPU."""
_FLOAT32 = torch.float32


@contextmanager
def casting(to: torch.dtype | None) -> Iterator[None]:
    """Inside, functions cast meta tensors of floating-point numbers as autocast does; none: not.

    Put in torch's place, not a mode of torch's: a backward pass, which may compute forwards again
    (gradient checkpointing), runs outside of modes.
    """
    types = {} if to is None else {**dict.fromkeys(_NARROW, to), **dict.fromkeys(_WIDE, _FLOAT32)}
    own = {(module, name): getattr(module, name) for module, name in types}
    try:
        for (module, name), function in own.items():
            setattr(module, name, _cast(function, types[module, name]))
        yield
    finally:
        for (module, name), function in own.items():
            setattr(module, name, function)


def _cast(function: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    def one(given: Any) -> Any:
        is_ours = isinstance(given, Tensor) and given.is_meta and given.is_floating_point()
        return given.to(dtype) if is_ours else given

    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*map(one, args), **{key: one(value) for key, value in kwargs.items()})

    return called
