"""The exact resize: against PIL, transformers' processor of CLIP, and float64."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from zoo.reward.pil_resize import (
    bicubic,
    centre_crop,
    eight_bits,
    shorter_side,
    square,
    torchvision_margin,
    transformers_margin,
)
from zoo.testing.inputs import some_images

KINDS = ("noise", "patches")


def pil_bicubic(pixels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """PIL's resize in one direction, in float64: its kernel, widened to the scale, and 8 bits."""
    pixels = np.moveaxis(pixels, axis, 0)
    scale = len(pixels) / size
    centre = (np.arange(size) + 0.5) * scale
    x = np.abs(np.arange(len(pixels)) + 0.5 - centre[:, None]) / max(scale, 1.0)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weight = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    resized = np.tensordot(weight / weight.sum(1, keepdims=True), pixels, 1)
    return np.moveaxis(np.clip(np.floor(resized + 0.5), 0, 255), 0, axis)


def normalise(pixels: np.ndarray, size: int) -> np.ndarray:
    """The square in the middle of 8-bit pixels, by CLIP's mean and deviation."""
    top, left = (round((side - size) / 2) for side in pixels.shape[:2])
    square = pixels[top : top + size, left : left + size].astype(np.float64) / 255
    return (square - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(64, 64), (40, 70), (70, 41), (8, 8), (24, 24), (24, 99), (512, 300)]
)
def test_pixels_are_those_of_pil_to_the_bit(kind, shape):
    # Patches are so smooth that many of the resized pixels are half-way between two levels.
    image = some_images(2, max(shape))[KINDS.index(kind), :, : shape[0], : shape[1]]
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    size = 24
    tall, wide = (int(size * side / min(shape)) for side in shape)
    by_pil = np.asarray(Image.fromarray(pixels).resize((wide, tall), Image.Resampling.BICUBIC))
    found = square(image[None], size, torchvision_margin)[0].permute(1, 2, 0)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, normalise(by_pil, size), rtol=0, atol=2e-6)
    in_float64 = pil_bicubic(pil_bicubic(pixels.astype(np.float64), wide, 1), tall, 0)
    # Without PIL's fixed point a value half-way between two levels may go the other way.
    assert np.abs(by_pil - in_float64).max() <= 1


@pytest.mark.parametrize("photo", [0, 1])
@pytest.mark.parametrize(
    "shape", [(427, 640), (427, 427), (300, 201), (224, 224), (100, 73), (225, 400)]
)
def test_photos_are_prepared_as_by_transformers_processor(photo, shape):
    from transformers import CLIPImageProcessorPil

    pixels = load_sample_images().images[photo][: shape[0], : shape[1]]
    wanted = CLIPImageProcessorPil()(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    image = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
    found = square(image, 224, transformers_margin)
    # One level of 255 is 0.015.
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)


def test_batches_are_resized_one_by_one():
    images = some_images(3, 40)
    whole = square(images, 24, transformers_margin)
    for i in range(3):
        assert torch.equal(square(images[i : i + 1], 24, transformers_margin)[0], whole[i])


def test_a_resize_to_the_same_size_changes_nothing():
    images = eight_bits(some_images(2, 24))
    assert torch.equal(bicubic(images, 24, 24), images)


@pytest.mark.parametrize("size", [224, 28, 7])
@pytest.mark.parametrize("shape", [(427, 640), (640, 427), (3, 3), (1000, 999), (5, 7)])
def test_the_shorter_side_is_the_size_and_the_longer_is_rounded_down(shape, size):
    tall, wide = shorter_side(*shape, size)
    assert min(tall, wide) == size
    assert max(tall, wide) == int(size * max(shape) / min(shape))


def test_crops_start_where_either_library_starts_them():
    images = torch.arange(31.0).expand(1, 3, 28, 31)
    starts = [
        float(centre_crop(images, 28, margin)[0, 0, 0, 0])
        for margin in (transformers_margin, torchvision_margin)
    ]
    # Three too many: 1.5, which torchvision rounds to even.
    assert starts == [1.0, 2.0]


def test_eight_bits_rounds_clamps_and_keeps_nan():
    images = torch.tensor([-0.5, 0.5 / 255 + 1e-4, 1.4, torch.nan]).expand(1, 3, 1, 4)
    found = eight_bits(images)[0, 0, 0]
    assert found[:3].tolist() == [0.0, float(np.float32(1) / np.float32(255)), 1.0]
    assert bool(found[3].isnan())
