"""A tensor that may lie in pieces on several processes, so that one is made whole at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sharded:
    """What every process knows of a tensor, and how all of them together make it whole."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    whole: Callable[[], Tensor]
    """The tensor on any device; called by every process, in the same order."""


def local(tensor: Tensor) -> Sharded:
    """A tensor that this process has whole."""
    return Sharded(tuple(tensor.shape), tensor.dtype, tensor.detach)
