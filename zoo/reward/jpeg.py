"""Size as a JPEG file: the simplest reward, without a model, to see that training works at all.

Black et al. 2023 (DDPO, arXiv 2305.13301), in the form and scale of Flow-GRPO's code: kilobytes of
1000 bytes over 500, at PIL's default 4:2:0 chroma subsampling. Departs from it: incompressibility
is the exact negative of compressibility (published: not divided by 500).
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Annotated

import torch
from annotated_types import Ge, Le

from zoo.prompt import Prompt
from zoo.reward.base import Images, PerImage, Reward


class _JpegSize(Reward):
    has_networks = False

    def __init__(self, *, quality: Annotated[int, Ge(1), Le(100)] = 95) -> None:
        """`quality` is the JPEG encoder's, from 1 to 100."""
        self._quality = quality


class JpegCompressibility(_JpegSize):
    """Minus the size of an image as a JPEG file, in kB / 500: smooth images score higher."""

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """Negative numbers; images are rounded to 8 bits."""
        return -_kilobytes(images, self._quality) / 500.0


class JpegIncompressibility(_JpegSize):
    """The size of an image as a JPEG file, in kB / 500: busy images score higher."""

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """Positive numbers; images are rounded to 8 bits."""
        return _kilobytes(images, self._quality) / 500.0


def _kilobytes(images: Images, quality: int) -> PerImage:
    from PIL import Image

    pixels = (
        (images * 255.0).round().clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    )
    sizes = []
    for image in pixels:
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
        sizes.append(buffer.tell() / 1000.0)
    return torch.tensor(sizes, device=images.device)
