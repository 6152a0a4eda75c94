"""What models are fed: against PIL, transformers' own processor, and written-out versions."""

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.reward.networks.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    clip_pixels,
    float_pixels,
    padded_pixels,
    pil_bicubic,
    shorter_side,
)

SIZES = [(64, 64), (48, 80), (80, 49), (224, 300), (20, 31)]


def pictures(images):
    array = (images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(each) for each in array]


def photo():
    from sklearn.datasets import load_sample_image

    return torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("size", SIZES)
def test_resizing_is_pils_to_the_byte(size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for height, width in (shorter_side(images, size) for size in (17, 32, 100)):
        wanted = np.stack([
            np.asarray(p.resize((width, height), Image.Resampling.BICUBIC))
            for p in pictures(images)
        ])  # fmt: skip
        found = (pil_bicubic(images, height, width) * 255).round().byte()
        np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), wanted)


@pytest.mark.parametrize("size", SIZES)
def test_clips_pixels_are_those_of_its_processor(size):
    from transformers import CLIPImageProcessorPil

    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    wanted = processor(pictures(images), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(clip_pixels(images, 32), wanted, rtol=0, atol=1e-5)


def test_a_photo_at_full_size_is_the_processors():
    from transformers import CLIPImageProcessorPil

    images = photo()
    wanted = CLIPImageProcessorPil()(pictures(images), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(clip_pixels(images, 224), wanted, rtol=0, atol=1e-5)


def back(pixels):
    """Pixels in [0, 1] before CLIP's statistics."""
    mean, std = (torch.tensor(s)[:, None, None] for s in (CLIP_MEAN, CLIP_STD))
    return pixels * std + mean


def triangle(before, after):
    """Antialiased bilinear in one direction, written out in float64."""
    scale = before / after
    support = max(scale, 1.0)
    rows = np.zeros((after, before))
    for i in range(after):
        middle = (i + 0.5) * scale
        for j in range(before):
            rows[i, j] = max(0.0, 1 - abs((j + 0.5 - middle) / support))
    return rows / rows.sum(1, keepdims=True)


@pytest.mark.parametrize(("size", "tall", "wide"), [((64, 64), 32, 32), ((48, 81), 32, 54)])
def test_the_float_path_is_antialiased_bilinear_and_a_crop(size, tall, wide):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    whole = triangle(size[0], tall) @ images.double().numpy() @ triangle(size[1], wide).T
    top, left = round((tall - 32) / 2), round((wide - 32) / 2)
    wanted = torch.from_numpy(whole[..., top : top + 32, left : left + 32])
    found = back(float_pixels(images, 32)).double()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_padding_is_black_around_the_longer_side():
    images = torch.ones(1, 3, 20, 40)
    found = back(padded_pixels(images, 32))
    assert found.shape == (1, 3, 32, 32)
    torch.testing.assert_close(found[..., :8, :], torch.zeros(1, 3, 8, 32), rtol=0, atol=1e-6)
    torch.testing.assert_close(found[..., 8:24, :], torch.ones(1, 3, 16, 32), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[..., 24:, :], torch.zeros(1, 3, 8, 32), rtol=0, atol=1e-6)


def test_an_image_of_the_models_size_is_left_as_it_is():
    images = torch.rand(2, 3, 32, 32)
    for prepare in (float_pixels, padded_pixels):
        torch.testing.assert_close(back(prepare(images, 32)), images, rtol=0, atol=1e-6)
