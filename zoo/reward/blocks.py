"""Block matching: where the blocks of a frame were in the frame before (full search).

Jain and Jain 1981 (IEEE Trans. Commun. 29): a block has come from where the mean absolute
difference is least; of places that are equally good, from the nearest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

LONGER = 256
"""Pixels of the longer side at which blocks are matched; larger frames are shrunk."""

_BLOCKS = 16
_SMALLEST = 4
_REACH = 0.05
_LEVEL = 1 / 255


@dataclass(frozen=True)
class Matches:
    """Of each block of each frame but the first: how far it has come, and what is still different.

    `distance` is in parts of the frame's longer side, and 0 where moving explains less than half of
    the difference or that is less than a level of 8 bits: noise and flicker move nothing. `error`
    is the least mean absolute difference, in [0, 1].
    """

    distance: Float[Tensor, "pairs rows columns"]
    error: Float[Tensor, "pairs rows columns"]


def match_blocks(video: Float[Tensor, "frames 3 height width"]) -> Matches:
    """The blocks of a video in [0, 1], in float32.

    The longer side has 16 blocks, of 4 pixels at least; what is left over at the right and below is
    not looked at. Blocks are looked for as far as 1/20 of the longer side away, 1 pixel at least;
    beyond the edges a frame goes on as it ends there.
    """
    frames = _shrunk(video.detach().float())
    height, width = frames.shape[-2:]
    longer = max(height, width)
    block = min(max(_SMALLEST, round(longer / _BLOCKS)), height, width)
    reach = max(1, round(longer * _REACH))
    before, after = pad(frames[:-1], (reach,) * 4, mode="replicate"), frames[1:]
    still = least = distance = torch.empty(0)
    for length, down, right in _places(reach):
        top, left = reach - down, reach - right
        moved = before[..., top : top + height, left : left + width]
        error = avg_pool2d((after - moved).abs().mean(1, keepdim=True), block)[:, 0]
        if length == 0:
            still, least, distance = error, error, torch.zeros_like(error)
            continue
        # Rounding alone makes no place better.
        better = error < least - _LEVEL / 256
        least = torch.where(better, error, least)
        distance = torch.where(better, length / longer, distance)
    moves = (least <= still / 2) & (still > _LEVEL)
    return Matches(torch.where(moves, distance, 0.0), least)


def _places(reach: int) -> Iterator[tuple[float, int, int]]:
    """How far, and how many pixels down and right: the nearest first."""
    around = range(-reach, reach + 1)
    places = [(down * down + right * right, down, right) for down in around for right in around]
    for square, down, right in sorted(places):
        yield square**0.5, down, right


def _shrunk(frames: Float[Tensor, "frames 3 h w"]) -> Float[Tensor, "frames 3 height width"]:
    height, width = frames.shape[-2:]
    if max(height, width) <= LONGER:
        return frames
    factor = LONGER / max(height, width)
    return adaptive_avg_pool2d(
        frames, (max(1, round(height * factor)), max(1, round(width * factor)))
    )
