"""The size of an image as a JPEG file."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.jpeg import JpegCompressibility, JpegIncompressibility


def images() -> Tensor:
    return torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(0))


PROMPTS = [Prompt("")] * 4


def test_compressibility_is_minus_the_file_s_kilobytes_over_500() -> None:
    pixels = np.round(images()[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=95)
    scores = JpegCompressibility().score(images(), PROMPTS)
    torch.testing.assert_close(scores[0], torch.tensor(-len(buffer.getvalue()) / 1000 / 500))


def test_incompressibility_is_the_exact_negative() -> None:
    compressible = JpegCompressibility(quality=70).score(images(), PROMPTS)
    assert torch.equal(JpegIncompressibility(quality=70).score(images(), PROMPTS), -compressible)


def test_a_flat_image_is_more_compressible_than_noise() -> None:
    both = torch.cat([torch.full((1, 3, 32, 48), 0.4), images()[:1]])
    flat, noise = JpegCompressibility().score(both, PROMPTS[:2])
    assert noise < flat < 0


def test_a_lower_quality_makes_smaller_files() -> None:
    small, large = (JpegIncompressibility(quality=q).score(images(), PROMPTS) for q in (30, 95))
    assert (small < large).all()


def test_a_score_does_not_depend_on_the_batch() -> None:
    reward = JpegCompressibility()
    alone = [reward.score(image, PROMPTS[:1]) for image in images().split(1)]
    assert torch.equal(torch.cat(alone), reward.score(images(), PROMPTS))


def test_images_are_rounded_to_8_bits() -> None:
    reward = JpegCompressibility()
    rounded = (images() * 255).round() / 255
    assert torch.equal(reward.score(rounded, PROMPTS), reward.score(images(), PROMPTS))


def test_scores_are_float32() -> None:
    assert JpegCompressibility().score(images(), PROMPTS).dtype is torch.float32
