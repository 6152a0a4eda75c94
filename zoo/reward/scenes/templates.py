"""Which shape a part of an image has: that of the rendered masks which it is most like."""

from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from zoo.data.scenes.layout import LARGEST, SMALLEST
from zoo.data.scenes.prompts import SHAPES
from zoo.data.scenes.shapes import SIZE, coverage

_SIDE = 16
"""Pixels of a mask that is compared."""


def matched(
    covered: Float[Tensor, "parts 32 32"],
) -> tuple[Int[Tensor, " parts"], Float[Tensor, " parts"]]:
    """The shape of each part, and its mean squared distance from the nearest mask, in [0, 1]."""
    masks, shapes = rendered_masks()
    seen = _centered(covered).flatten(1).double()
    squares = (seen**2).mean(dim=1)[:, None] + (masks**2).mean(dim=1)
    nearest = (squares - 2.0 * seen @ masks.T / masks.shape[1]).min(dim=1)
    return shapes[nearest.indices], nearest.values.clamp(min=0.0).float()


@cache
def rendered_masks() -> tuple[Float[Tensor, "masks pixels"], Int[Tensor, " masks"]]:
    """Of every shape in all sizes, with its middle anywhere within a pixel."""
    radii = torch.arange(SMALLEST - 0.5, LARGEST[0] + 0.5, 0.5)
    offsets = torch.tensor([0.0, 0.25, 0.5, 0.75]) + SIZE / 2
    shapes = torch.arange(float(len(SHAPES)))
    shape, radius, x, y = torch.cartesian_prod(shapes, radii, offsets, offsets).unbind(dim=1)
    masks = coverage(shape.long(), torch.stack([x, y], dim=1), radius)
    return _centered(masks).flatten(1).double(), shape.long()


def _centered(covered: Float[Tensor, "parts 32 32"]) -> Float[Tensor, "parts 16 16"]:
    """The square around each part, of the longer side of its box, at one size for all."""
    pixel = torch.arange(SIZE)
    low, high = [], []
    for axis in (2, 1):
        inside = (covered > 0.5).any(dim=3 - axis)
        low.append(torch.where(inside, pixel, SIZE).amin(dim=1))
        high.append(torch.where(inside, pixel + 1, 0).amax(dim=1))
    first, last = torch.stack(low, dim=1).float(), torch.stack(high, dim=1).float()
    middle, side = (first + last) / 2, (last - first).amax(dim=1)
    # A pixel more on each side: the edge is half covered there.
    turn = torch.zeros(len(covered), 2, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = (side + 2.0) / SIZE
    turn[:, :, 2] = middle / SIZE * 2.0 - 1.0
    grid = F.affine_grid(turn, [len(covered), 1, _SIDE, _SIDE], align_corners=False)
    cut = F.grid_sample(covered.float().unsqueeze(1), grid, align_corners=False)
    return cut.squeeze(1)
