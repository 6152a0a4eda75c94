"""Images as published models are fed them: resized as PIL or as a float tensor, cropped, scaled.

All on the images' own device. CLIP's statistics are those of openai/clip-vit-large-patch14.
"""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from zoo.devices import send
from zoo.reward.base import Images

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# 1 in PIL's fixed point (Resample.c, PRECISION_BITS).
_ONE = 2.0**22


def pil_bicubic(images: Images, height: int, width: int) -> Float[Tensor, "batch 3 _ _"]:
    """What PIL's bicubic makes of images in [0, 1], with 8 bits before and after; in [0, 1].

    Along the width first, as Pillow up to 12; Pillow 13 begins with the height of images that are
    more than twice as tall as wide, which rounds differently.
    """
    before, device = images.shape[-2:], images.device
    pixels = (images.float() * 255.0).round().clamp(0.0, 255.0).double()
    pixels = _eight_bits(pixels @ send(_kernel(before[1], width), device).T)
    pixels = _eight_bits(send(_kernel(before[0], height), device) @ pixels)
    return pixels.float() / 255.0


def shorter_side(images: Images, size: int) -> tuple[int, int]:
    """Height and width where the shorter of them is `size`, the other rounded down."""
    height, width = images.shape[-2:]
    short = min(height, width)
    return int(size * height / short), int(size * width / short)


def centre(images: Images, size: int) -> Float[Tensor, "batch 3 size size"]:
    """The square in the middle; of an odd margin Python's rounding decides, as torchvision's."""
    height, width = images.shape[-2:]
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[..., top : top + size, left : left + size]


def standard(images: Images) -> Images:
    """Less CLIP's mean, by its deviation."""
    mean, std = (send(torch.tensor(s), images.device) for s in (CLIP_MEAN, CLIP_STD))
    return (images - mean[:, None, None]) / std[:, None, None]


def clip_pixels(images: Images, size: int) -> Float[Tensor, "batch 3 size size"]:
    """As CLIPImageProcessor on PIL: bicubic to the shorter side, the square in the middle."""
    tall, wide = shorter_side(images, size)
    resized = pil_bicubic(images, tall, wide)
    # Its crop rounds an odd margin down.
    top, left = (tall - size) // 2, (wide - size) // 2
    return standard(resized[..., top : top + size, left : left + size])


def float_pixels(images: Images, size: int) -> Float[Tensor, "batch 3 size size"]:
    """As torchvision's Resize and CenterCrop on a float tensor: antialiased bilinear."""
    resized = F.interpolate(
        images.float(), shorter_side(images, size), mode="bilinear", antialias=True
    )
    return standard(centre(resized, size))


def padded_pixels(images: Images, size: int) -> Float[Tensor, "batch 3 size size"]:
    """As hpsv2 feeds a float tensor: antialiased bicubic to the longer side, black around."""
    height, width = images.shape[-2:]
    scale = size / max(height, width)
    # hpsv2 fails on images of which nothing would be left.
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    resized = images.float()
    if (tall, wide) != (height, width):
        resized = F.interpolate(resized, (tall, wide), mode="bicubic", antialias=True)
    top, left = (size - tall) // 2, (size - wide) // 2
    padding = (left, size - wide - left, top, size - tall - top)
    return standard(F.pad(resized, padding))


@cache
def _kernel(before: int, after: int) -> Float[Tensor, "after before"]:
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


def _eight_bits(sums: Tensor) -> Tensor:
    return ((sums + _ONE / 2) / _ONE).floor().clamp(0.0, 255.0)
