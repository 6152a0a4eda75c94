"""What of an image is not its ground: connected parts of one colour, as shares of pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from zoo.data.scenes.shapes import RGB, SIZE
from zoo.reward.geneval.position import Box

SMALLEST = 12
"""Pixels of a part; smaller ones are specks. The smallest star has 19."""

_NEAR = 0.3
"""How far a pixel's colour may be from any mixture of the ground and a colour."""

_AROUND = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Component:
    """A part of image number `image`, of the colour with that number."""

    image: int
    color: int
    box: Box
    covered: Float[np.ndarray, "32 32"]
    """The share of each pixel, in [0, 1]; 0 away from the part."""


def components(images: Float[Tensor, "batch 3 32 32"]) -> Iterator[Component]:
    """Of images in [0, 1], whose ground is their median colour."""
    pixels = images.double().cpu().flatten(2).mT
    ground = pixels.median(dim=1, keepdim=True).values
    towards, away = torch.tensor(RGB, dtype=torch.float64) - ground, pixels - ground
    length = (towards**2).sum(dim=-1).unsqueeze(1)
    share = away @ towards.mT / length
    # Of the triangle of the pixel, the ground and the nearest mixture, by Pythagoras.
    missed = (away**2).sum(dim=-1, keepdim=True) - share**2 * length
    color = missed.argmin(dim=-1, keepdim=True)
    share, missed = (each.gather(-1, color).reshape(-1, SIZE, SIZE) for each in (share, missed))
    is_object = (share > 0.5) & (missed < _NEAR**2)
    label = torch.where(is_object, color.reshape(-1, SIZE, SIZE), -1).numpy()
    covered = share.clamp(0.0, 1.0).numpy()
    for i, of_image in enumerate(label):
        for number in np.unique(of_image[of_image >= 0]).tolist():
            yield from _parts(i, number, of_image == number, covered[i])


def _parts(image: int, color: int, mask: np.ndarray, covered: np.ndarray) -> Iterator[Component]:
    labelled, _ = ndimage.label(mask, structure=_AROUND)
    for i, (rows, columns) in enumerate(ndimage.find_objects(labelled), start=1):
        part = labelled == i
        if part.sum() < SMALLEST:
            continue
        near = ndimage.binary_dilation(part, structure=_AROUND)
        box = (columns.start, rows.start, columns.stop, rows.stop)
        yield Component(image, color, box, np.where(near, covered, 0.0))
