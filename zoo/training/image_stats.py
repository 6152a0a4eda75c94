"""What images are like, whatever their rewards: how diverse, how alike across prompts, how clipped.

A model that has found a trick often shows it here first: all images of a prompt become one image,
all prompts become one picture, or pixels leave for black and white. Distances are root-mean-square
differences of pixel values in [0, 1], between thumbnails of at most 32 pixels, so that they tell
about what is in an image and not about its noise.

The mean square distance of all pairs is had from sums alone, without keeping an image: for images x
of group g with n of mean m_g and mean square q_g,

    within g:   2 (q_g - |m_g|^2) n / (n - 1)          of groups g and h:   q_g + q_h - 2 m_g . m_h
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

_LARGEST = 32


@dataclass(frozen=True)
class Looks:
    """What is looked at of images: their thumbnails' values, and the share that is clipped.

    A value is clipped that is black or white in 8 bits.
    """

    thumbnail: Float[Tensor, "batch values"]
    clipped: Float[Tensor, " batch"]


def look(images: Float[Tensor, "batch *frames 3 height width"]) -> Looks:
    """Looks at images in [0, 1], each for itself."""
    clipped = (images < 0.5 / 255) | (images >= 254.5 / 255)
    return Looks(_thumbnails(images), clipped.flatten(1).double().mean(1))


class ImageStats:
    """Sums over this process's images, on their device; a group is the images of one prompt."""

    def __init__(self, group_size: int) -> None:
        """Image k is of group k // group_size; groups are whole on one process."""
        self._group_size = group_size
        self._place: dict[int, int] = {}
        self._sums: _Sums | None = None

    def see(self, looks: Looks, key: Int[Tensor, " batch"]) -> None:
        """Takes note of images."""
        if not len(key):
            return
        # A difference of large sums is to be exact.
        pixels = looks.thumbnail.double()
        groups = (key // self._group_size).tolist()
        place = [self._place.setdefault(group, len(self._place)) for group in groups]
        if self._sums is None:
            self._sums = _Sums(pixels.shape[1], pixels.device)
        where = torch.tensor(place, device=pixels.device)
        self._sums.add(where, len(self._place), pixels, looks.clipped)

    def measure(self, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Of all processes' images, whose rows `gather` has; the same on every process.

        `diversity` is the distance of two images of one prompt, `similarity` is 1 less that of two
        images of different prompts, `saturated` the share of values that are black or white in 8
        bits. All are in [0, 1], and NaN where there are no such images.
        """
        # A process without an image learns from the others how many values there are.
        own = 0 if self._sums is None else self._sums.width
        width = int(gather(torch.tensor([own])).max())
        mine = torch.zeros(width + 7, dtype=torch.float64)
        total = gather((mine if self._sums is None else self._sums.reduce())[None]).sum(0)
        images, clipped, several, within, groups, squares, sizes = total[:7].tolist()
        across = math.nan
        if groups > 1:
            together = float(total[7:].square().mean())
            across = 2 * (squares / groups - (together - sizes) / (groups * (groups - 1)))
        return {
            "diversity": _root(within / several if several else math.nan),
            "similarity": 1 - _root(across),
            "saturated": clipped / images if images else math.nan,
        }


class _Sums:
    """By group: how many images, the sums of their values, and of their mean squares."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.width = width
        self._count, self._square = (
            torch.zeros(0, dtype=torch.float64, device=device) for _ in range(2)
        )
        self._value = self._count.new_zeros(0, width)
        self._clipped = self._count.new_zeros(())

    def add(
        self,
        place: Int[Tensor, " batch"],
        groups: int,
        pixels: Float[Tensor, "batch values"],
        clipped: Float[Tensor, " batch"],
    ) -> None:
        more = groups - len(self._count)
        if more > 0:
            self._count, self._square, self._value = (
                torch.cat([old, old.new_zeros(more, *old.shape[1:])])
                for old in (self._count, self._square, self._value)
            )
        self._count.index_add_(0, place, pixels.new_ones(len(pixels)))
        self._square.index_add_(0, place, pixels.square().mean(1))
        self._value.index_add_(0, place, pixels)
        self._clipped += clipped.sum()

    def reduce(self) -> Float[Tensor, " values"]:
        """Images, clipped; groups of several, their distances; groups, squares, sizes; means."""
        mean, square = self._value / self._count[:, None], self._square / self._count
        size = mean.square().mean(1)
        several = self._count > 1
        within = (2 * (square - size) * self._count / (self._count - 1))[several]
        groups = square.new_tensor(len(square))
        scalars = (
            self._count.sum(), self._clipped, several.sum().double(), within.sum(),
            groups, square.sum(), size.sum(),
        )  # fmt: skip
        return torch.cat([torch.stack(scalars), mean.sum(0)]).cpu()


def _thumbnails(
    images: Float[Tensor, "batch *frames 3 height width"],
) -> Float[Tensor, "batch values"]:
    height, width = images.shape[-2:]
    flat = images.detach().reshape(-1, *images.shape[-3:])
    if max(height, width) > _LARGEST:
        factor = _LARGEST / max(height, width)
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        flat = adaptive_avg_pool2d(flat.float(), size)
    # Not reshape(len(images), -1), which no image at all would leave open.
    return flat.reshape(*images.shape[:-2], *flat.shape[-2:]).flatten(1)


def _root(square: float) -> float:
    return math.sqrt(max(0.0, square)) if not math.isnan(square) else math.nan
