"""What a set of images is like: how diverse, how alike across prompts, and each measure's mean.

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

from zoo.devices import send
from zoo.training.looks import MEASURES, Looks


@dataclass(frozen=True)
class ImageNumbers:
    """What images are like, by name; the same on every process.

    `values` are `diversity`, the distance of two images of one prompt, `similarity`, which is 1
    less that of two images of different prompts, both in [0, 1], and the mean of each of
    `MEASURES`. `deviations` are these measures' standard deviations over images (of a sample: n -
    1). NaN where there are no such images.
    """

    values: dict[str, float]
    deviations: dict[str, float]


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
        where = send(torch.tensor(place), pixels.device)
        self._sums.add(where, len(self._place), pixels, looks.measures)

    def measure(self, gather: Callable[[Tensor], Tensor]) -> ImageNumbers:
        """Of all processes' images, whose rows `gather` has."""
        # A process without an image learns from the others how many values there are.
        own = 0 if self._sums is None else self._sums.width
        width = int(gather(torch.tensor([own])).max())
        mine = torch.zeros(_SCALARS + 2 * len(MEASURES) + width, dtype=torch.float64)
        total = gather((mine if self._sums is None else self._sums.reduce())[None]).sum(0)
        # As `reduce` has it: scalars, then measures, and the mean images from the end.
        images, several, within, groups, squares, sizes = total[:_SCALARS].tolist()
        measured, together = total[_SCALARS : len(total) - width], total[len(total) - width :]
        across = math.nan
        if groups > 1:
            size = float(together.square().mean())
            across = 2 * (squares / groups - (size - sizes) / (groups * (groups - 1)))
        sums = zip(MEASURES, *measured.reshape(2, -1).tolist(), strict=True)
        moments = {name: _moments(images, total, squared) for name, total, squared in sums}
        return ImageNumbers(
            {
                "diversity": _root(within / several if several else math.nan),
                "similarity": 1 - _root(across),
                **{name: mean for name, (mean, _) in moments.items()},
            },
            {name: deviation for name, (_, deviation) in moments.items()},
        )


_SCALARS = 6
"""Numbers that `_Sums.reduce` begins with."""


class _Sums:
    """By group: how many images, the sums of their values, and of their mean squares.

    Of all images: the sums of their measures, and of the squares of these.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.width = width
        self._count, self._square = (
            torch.zeros(0, dtype=torch.float64, device=device) for _ in range(2)
        )
        self._value = self._count.new_zeros(0, width)
        self._measured = self._count.new_zeros(2, len(MEASURES))

    def add(
        self,
        place: Int[Tensor, " batch"],
        groups: int,
        pixels: Float[Tensor, "batch values"],
        measures: Float[Tensor, "batch measures"],
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
        self._measured += torch.stack([measures, measures.square()]).sum(1)

    def reduce(self) -> Float[Tensor, " values"]:
        """Images; groups of several, their distances; groups, squares, sizes; measures; means."""
        mean, square = self._value / self._count[:, None], self._square / self._count
        size = mean.square().mean(1)
        several = self._count > 1
        within = (2 * (square - size) * self._count / (self._count - 1))[several]
        groups = square.new_tensor(len(square))
        scalars = (
            self._count.sum(), several.sum().double(), within.sum(),
            groups, square.sum(), size.sum(),
        )  # fmt: skip
        return torch.cat([torch.stack(scalars), self._measured.flatten(), mean.sum(0)]).cpu()


def _moments(num: float, total: float, squares: float) -> tuple[float, float]:
    """The mean of so many numbers, and their standard deviation."""
    mean = total / num if num else math.nan
    return mean, _root((squares - total * mean) / (num - 1) if num > 1 else math.nan)


def _root(square: float) -> float:
    return math.sqrt(max(0.0, square)) if not math.isnan(square) else math.nan
