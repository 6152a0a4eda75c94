"""A small network that finds shapes: whether an object's middle is in each of 8 x 8 cells."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo.data.scenes.prompts import COLORS, SHAPES
from zoo.data.scenes.shapes import SIZE
from zoo.reward.geneval.scoring import Found, FoundObjects

CELLS = 8
"""A side."""
CELL = SIZE // CELLS
"""Pixels a side."""
_PARTS = (1, len(SHAPES), len(COLORS), 2, 1)
_WIDTHS = 24, 32, 64
_SURE = 0.125
"""Half of a quarter: where four cells meet, an object's middle may be in any of them."""


@dataclass(frozen=True)
class Cells:
    """What is seen in each cell, with gradients: logits, and where the object is."""

    object: Float[Tensor, "batch 1 8 8"]
    shape: Float[Tensor, "batch 6 8 8"]
    color: Float[Tensor, "batch 6 8 8"]
    offset: Float[Tensor, "batch 2 8 8"]
    """Of the object's middle from the cell's, right and down, in cells."""
    size: Float[Tensor, "batch 1 8 8"]
    """The logarithm of half of the object's side in cells."""


class Detector(nn.Module):
    """Five convolutions that see 28 pixels around a cell's middle, 101k parameters."""

    def __init__(self) -> None:
        """Random weights from torch's global generator."""
        super().__init__()
        a, b, c = _WIDTHS
        self.features = nn.Sequential(
            nn.Conv2d(3, a, 4, padding=1, stride=2), nn.ReLU(),
            nn.Conv2d(a, b, 3, padding=1), nn.ReLU(),
            nn.Conv2d(b, c, 3, padding=1, stride=2), nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Conv2d(c, sum(_PARTS), 1)

    def forward(self, images: Float[Tensor, "batch 3 32 32"]) -> Cells:
        """Of images in [0, 1]."""
        return Cells(*self.head(self.features(images * 2.0 - 1.0)).split(_PARTS, dim=1))


def objects(cells: Cells) -> list[FoundObjects]:
    """For each image the cells that are surer than `_SURE` and than their neighbours."""
    sure = cells.object.sigmoid()
    peak = (sure > _SURE) & (sure == nn.functional.max_pool2d(sure, 3, stride=1, padding=1))
    row, _, y, x = peak.nonzero(as_tuple=True)
    middle = (torch.stack([x, y], dim=1) + 0.5 + cells.offset[row, :, y, x]) * CELL
    half = cells.size[row, :, y, x].exp() * CELL
    boxes = torch.cat([middle - half, middle + half], dim=1).tolist()
    shapes = cells.shape[row, :, y, x].argmax(1).tolist()
    colors = cells.color[row, :, y, x].argmax(1).tolist()
    found: list[dict[str, list[Found]]] = [{} for _ in range(len(sure))]
    by_sureness = sure[row, 0, y, x].argsort(descending=True, stable=True).tolist()
    for i in by_sureness:
        of_shape = found[int(row[i])].setdefault(SHAPES[shapes[i]], [])
        of_shape.append(Found(tuple(boxes[i]), COLORS[colors[i]]))
    return list(found)
