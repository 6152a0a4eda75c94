"""Numbers that are made up where only their shapes are known, or they are to be told apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.seeds import Draws


def noise(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Normal numbers, the same every time."""
    return Draws(0, "probe", 0, torch.tensor([seed])).normal(tuple(shape))[0]
