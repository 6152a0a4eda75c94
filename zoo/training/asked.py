"""Which rewards score which images: all of them, or those that a prompt's source names.

Images that the same rewards score are a batch of their own for what compares rewards over groups:
a sum of other rewards has another scale.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zoo.prompt import Prompt

Asked = Mapping[str, Bool[Tensor, " images"]]
"""By label, which images the reward scores, or was to score."""


def asked_of(
    labels: Sequence[str], prompts: Sequence[Prompt], group: Int[Tensor, " images"]
) -> dict[str, Bool[Tensor, " images"]]:
    """By label; `group` is the prompt of each image."""
    return {
        label: torch.tensor([prompt.asks(label) for prompt in prompts], dtype=torch.bool)[group]
        for label in labels
    }


def alike(asked: Asked) -> Iterator[tuple[Int[Tensor, " some"], list[str]]]:
    """The places of images that the same rewards score, with the labels of these."""
    labels, table = list(asked), torch.stack(list(asked.values()), 1)
    kinds, kind = torch.unique(table, dim=0, return_inverse=True)
    for i, row in enumerate(kinds.tolist()):
        own = [label for label, is_asked in zip(labels, row, strict=True) if is_asked]
        yield (kind == i).nonzero()[:, 0], own


def weighted_sum(
    scores: Mapping[str, Float[Tensor, " images"]], weights: Mapping[str, float], asked: Asked
) -> Float[Tensor, " images"]:
    """Of the scores that an image was to get; NaN where one is invalid, or it was to get none."""
    parts = [
        weight * scores[label].masked_fill(~asked[label], 0.0) for label, weight in weights.items()
    ]
    has_any = torch.stack([asked[label] for label in weights]).any(0)
    return torch.stack(parts).sum(0).masked_fill(~has_any, torch.nan)
