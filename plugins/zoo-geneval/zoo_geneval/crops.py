"""An object alone on grey, cut out and sized for CLIP: what its colour is read from.

GenEval (Ghosh et al. 2023, arXiv 2310.11513) puts #999 outside of the object's mask and cuts its
box; open_clip's transform then brings the shortest side to CLIP's size, bicubic and antialiased as
in Pillow, and takes the middle of the longest.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from zoo_geneval.detections import Detection

_GREY = 0x99


def crop(
    image: Float[Tensor, "3 height width"], detection: Detection, size: int
) -> Float[Tensor, "3 size size"]:
    """The object as an 8-bit image, in [0, 1], `size` pixels wide and high."""
    left, top, right, bottom = (int(side) for side in detection.box)
    bytes_ = _round(image.float() * 255)
    alone = bytes_.where(detection.mask.to(image.device), torch.full_like(bytes_, _GREY))
    cut = alone[:, top:bottom, left:right]
    shortest = min(cut.shape[-2:])
    down, across = (_middle(side, shortest, size).to(cut) for side in cut.shape[-2:])
    # Pillow makes bytes of the width before it turns to the height.
    return _round(down @ _round(cut @ across.T)) / 255


def _round(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return values.round().clamp(0, 255)


def _middle(length: int, shortest: int, size: int) -> Float[Tensor, "size length"]:
    """How the middle `size` pixels of a resized axis weigh the pixels of the axis.

    The whole axis is never made: of a thin object it can be thousands of pixels long.
    """
    resized = size * length // shortest
    first = round((resized - size) / 2)
    scale = length / resized
    centers = (torch.arange(first, first + size, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(length, dtype=torch.float64) + 0.5
    weights = _cubic((pixels - centers[:, None]) / max(scale, 1.0))
    return weights / weights.sum(1, keepdim=True)


def _cubic(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Pillow's bicubic kernel: Keys 1981 with a = -0.5, 0 from a distance of 2."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
