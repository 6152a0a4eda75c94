"""PIL's bicubic resize to the byte, in batches, on any device; and what CLIP's models do besides.

Pillow, src/libImaging/Resample.c; Radford et al. 2021 (CLIP, arXiv 2103.00020) for the statistics.
"""

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

# Of the images that CLIP was trained on; ImageReward's BLIP uses them too.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
# 1 in PIL's fixed point (Resample.c, PRECISION_BITS).
_ONE = 2.0**22


def eight_bits(
    images: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Images in [0, 1] as a file has them: the nearest of 256 levels, in float32; NaN stays NaN."""
    return (images.float() * 255.0).round().clamp(0.0, 255.0) / 255.0


def bicubic(
    images: Float[Tensor, "batch 3 _ _"], height: int, width: int
) -> Float[Tensor, "batch 3 {height} {width}"]:
    """Images in [0, 1], rounded to 8 bits and resized as PIL does: 8 bits again, in float32."""
    # A separate step: dividing by 255 and multiplying again does not give the levels back.
    pixels = (images.float() * 255.0).round().clamp(0.0, 255.0).double()
    across = _kernel(images.shape[-1], width).to(images.device)
    down = _kernel(images.shape[-2], height).to(images.device)
    return (_levels(down @ _levels(pixels @ across.T)) / 255.0).float()


def shorter_side(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width scaled so that the shorter is `size`; the longer is rounded down."""
    short = min(height, width)
    return size * height // short, size * width // short


def transformers_margin(spare: int) -> int:
    """Where transformers' processors start a crop."""
    return spare // 2


def torchvision_margin(spare: int) -> int:
    """Where torchvision's CenterCrop starts: half-way is rounded to even."""
    return round(spare / 2)


def centre_crop(
    images: Float[Tensor, "batch 3 height width"], size: int, margin: Callable[[int], int]
) -> Float[Tensor, "batch 3 {size} {size}"]:
    """The square in the middle; `margin` gives what is cut off before it, from what is too much."""
    top, left = (margin(side - size) for side in images.shape[-2:])
    return images[..., top : top + size, left : left + size]


def normalised(images: Float[Tensor, "batch 3 *size"]) -> Float[Tensor, "batch 3 *size"]:
    """Images in [0, 1] by CLIP's mean and deviation."""
    mean, std = (torch.tensor(s, device=images.device)[:, None, None] for s in (_MEAN, _STD))
    return (images - mean) / std


def square(
    images: Float[Tensor, "batch 3 height width"], size: int, margin: Callable[[int], int]
) -> Float[Tensor, "batch 3 {size} {size}"]:
    """All of it, as models want it: the shorter side resized, the middle, CLIP's statistics."""
    resized = bicubic(images, *shorter_side(images.shape[-2], images.shape[-1], size))
    return normalised(centre_crop(resized, size, margin))


@cache
def _kernel(before: int, after: int) -> Float[Tensor, "{after} {before}"]:
    """PIL's bicubic (a = -0.5) in one direction, widened to the scale: whole numbers of 2^-22.

    Their sums with pixels are whole too, and exact in float64: PIL's own result, on any device,
    even where a smooth image lies half-way between two levels.
    """
    scale = before / after
    centre = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    x = (torch.arange(before, dtype=torch.float64) - centre[:, None] + 0.5).abs() / max(scale, 1.0)
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    weight = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    weight = weight / weight.sum(dim=1, keepdim=True) * _ONE
    return weight.sign() * (weight.abs() + 0.5).floor()


def _levels(sums: Tensor) -> Tensor:
    """From sums in fixed point to levels, 0 to 255."""
    return ((sums + _ONE / 2) / _ONE).floor().clamp(0.0, 255.0)
