"""An object on grey, against Pillow's composite, crop and resize."""

import numpy as np
import pytest
import torch
from PIL import Image
from zoo_geneval.crops import crop
from zoo_geneval.detections import Detection, extent

from zoo.testing import some_images


def detected(mask):
    return Detection(extent(mask), 1.0, mask)


def ellipse(height, width, top, left, tall, wide):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    down, across = (y - top - tall / 2 + 0.5) / (tall / 2), (x - left - wide / 2 + 0.5) / (wide / 2)
    return down**2 + across**2 <= 1


def reference(image, mask, size):
    """As open_clip's transform after GenEval's crop: shortest side to `size`, middle, bytes."""
    picture = Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())
    grey = Image.new("RGB", picture.size, color="#999")
    alone = Image.composite(picture, grey, Image.fromarray(mask.numpy())).crop(extent(mask))
    width, height = alone.size
    shortest = min(alone.size)
    wide, tall = size * width // shortest, size * height // shortest
    large = alone.resize((wide, tall), Image.Resampling.BICUBIC)
    left, top = round((wide - size) / 2), round((tall - size) / 2)
    return np.asarray(large.crop((left, top, left + size, top + size)), dtype=np.float64)


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize(
    "mask",
    [
        ellipse(96, 80, 10, 12, 40, 40),
        ellipse(96, 80, 0, 0, 96, 80),
        ellipse(96, 80, 20, 5, 9, 61),
        ellipse(96, 80, 20, 5, 71, 14),
        ellipse(96, 80, 90, 70, 6, 10),
        torch.ones(96, 80, dtype=torch.bool),
    ],
    ids=["middle", "large", "wide", "tall", "corner", "all"],
)
@pytest.mark.parametrize("image", [0, 1], ids=["noise", "patches"])
def test_crops_agree_with_pillow(image, mask, size):
    picture = some_images(2, 96)[image][:, :, :80]
    found = crop(picture, detected(mask), size)
    assert found.shape == (3, size, size)
    difference = np.abs(
        found.permute(1, 2, 0).double().numpy() * 255 - reference(picture, mask, size)
    )
    assert difference.max() <= 2.01
    assert difference.mean() < 0.02


def test_what_is_not_the_object_is_grey():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, :8] = mask[:, 12:] = True
    red = torch.zeros(3, 16, 16)
    red[0] = 1.0
    found = crop(red, detected(mask), 16)
    assert torch.equal(found[:, :, :8], red[:, :, :8])
    assert torch.equal(found[:, :, 12:], red[:, :, 12:])
    assert torch.equal(found[:, :, 8:12], torch.full((3, 16, 4), 0x99 / 255))


def test_a_crop_of_its_own_size_is_the_image_in_bytes():
    image = some_images(1, 32)[0]
    found = crop(image, detected(torch.ones(32, 32, dtype=torch.bool)), 32)
    assert torch.equal(found, (image * 255).round() / 255)


@pytest.mark.parametrize("shape", [(1, 900), (900, 1)])
def test_a_line_a_pixel_thin_costs_no_memory(shape):
    mask = torch.ones(shape, dtype=torch.bool)
    image = torch.full((3, *shape), 0.2)
    torch.testing.assert_close(crop(image, detected(mask), 224), torch.full((3, 224, 224), 0.2))
