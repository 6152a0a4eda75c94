"""Numbers where there are none of a model's own: of the right shapes, the same every time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.trees import on_tensors
from zoo.seeds import Draws


def noise(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Normal numbers."""
    return Draws(0, "probe", 0, torch.tensor([seed])).normal(tuple(shape))[0]


def numbers_of(encoded: Any) -> Any:
    """What an autoencoder of shapes alone gave of a picture, with numbers."""
    distribution = getattr(encoded, "latent_dist", None)
    if distribution is not None:
        encoded.latent_dist = type(distribution)(_numbers(distribution.parameters))
    return on_tensors(encoded, _numbers)


def _numbers(leaf: Tensor) -> Tensor:
    return noise(leaf.shape).to(leaf.dtype) if leaf.is_meta else leaf
