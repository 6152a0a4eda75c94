"""What an image is like for itself: every measure against NumPy in float64, and by hand."""

import math

import numpy as np
import pytest
import torch

from zoo.training.looks import MEASURES, look


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def measures(images, clean=None):
    """Of each image, by name."""
    clean = torch.zeros(len(images), 4) if clean is None else clean
    return dict(zip(MEASURES, look(images, clean).measures.T, strict=True))


def reference(image, clean):
    """The measures of one image of values in [0, 1]: (frames, 3, height, width)."""
    image, clean = image.double().numpy(), clean.double().numpy()
    bytes_of = np.floor(image * 255 + 0.5)
    red, green, blue = (image[:, channel] for channel in range(3))
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    pairs = [*(grey[:, 1:] - grey[:, :-1]).ravel(), *(grey[..., 1:] - grey[..., :-1]).ravel()]
    colours = np.minimum(np.floor(image.transpose(0, 2, 3, 1).reshape(-1, 3) * 4), 3)
    _, count = np.unique(colours, axis=0, return_counts=True)
    share = count / count.sum()
    return {
        "saturated": np.mean((bytes_of == 0) | (bytes_of == 255)),
        "brightness": grey.mean(),
        "edge_density": np.mean(np.abs(pairs) > 0.1),
        "colour_entropy": -(share * np.log2(share)).sum() / 6,
        "latent_square": np.mean(clean**2),
    }


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (4, 3, 33, 50), (3, 2, 3, 9, 4)])
@pytest.mark.parametrize("spread", [1.0, 0.2])
def test_measures_are_those_of_numpy_in_float64(shape, spread):
    images = (0.5 + spread * (random(*shape) - 0.5) * 1.02).clamp(0, 1)
    clean = 3 * random(shape[0], 2, 5, 5, seed=1) - 1
    found = measures(images, clean)
    for i, image in enumerate(images):
        expected = reference(image.reshape(-1, *image.shape[-3:]), clean[i])
        assert {name: float(of[i]) for name, of in found.items()} == {
            name: pytest.approx(value, abs=1e-6) for name, value in expected.items()
        }


def test_black_and_white_are_saturated_as_8_bits_show_them():
    values = torch.tensor([0.0, 0.49 / 255, 0.51 / 255, 0.5, 254.4 / 255, 254.6 / 255, 1.0, 0.2])
    assert float(measures(values.reshape(1, 1, 2, 4).expand(1, 3, 2, 4))["saturated"]) == 0.5


def test_an_image_of_one_colour_has_no_edges_and_no_entropy():
    found = measures(torch.tensor([0.2, 0.7, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16))
    assert float(found["brightness"]) == pytest.approx(0.299 * 0.2 + 0.587 * 0.7 + 0.114)
    assert float(found["edge_density"]) == float(found["colour_entropy"]) == 0


def test_a_checkerboard_is_all_edges_and_all_colours_are_an_entropy_of_1():
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    assert float(measures(board.expand(1, 3, 8, 8).float())["edge_density"]) == 1
    level = torch.cartesian_prod(*3 * [torch.arange(4)]).T.reshape(1, 3, 8, 8)
    assert float(measures((level + 0.5) / 4)["colour_entropy"]) == pytest.approx(1)
    grey = measures((level[:, 2:] + 0.5).expand(1, 3, 8, 8) / 4)
    assert float(grey["colour_entropy"]) == pytest.approx(1 / 3)


def test_what_is_beside_the_range_has_the_colour_at_its_end():
    images = torch.tensor([-0.1, 0.1, 0.9, 1.2]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert float(measures(images)["colour_entropy"]) == pytest.approx(1 / 6)


def test_an_image_of_one_pixel_has_no_edge_density():
    assert math.isnan(measures(torch.rand(1, 3, 1, 1))["edge_density"])


def test_a_broken_image_does_not_touch_the_others():
    images = random(3, 3, 4, 4)
    expected = look(images, images).measures
    images[1] = torch.nan
    images[1, 0, 0] = torch.inf
    found = look(images, images).measures
    assert torch.equal(found[::2], expected[::2])


def test_a_videos_looks_do_not_depend_on_those_beside_it():
    videos, clean = random(3, 4, 3, 40, 20), random(3, 2, 4, 5, 5, seed=1)
    found = look(videos, clean)
    assert found.thumbnail.shape == (3, 4 * 3 * 32 * 16)
    for i in range(3):
        alone = look(videos[i : i + 1], clean[i : i + 1])
        assert torch.equal(found.measures[i], alone.measures[0])
        assert torch.equal(found.thumbnail[i], alone.thumbnail[0])


def test_no_image_has_no_looks():
    found = look(torch.zeros(0, 3, 64, 64), torch.zeros(0, 4, 8, 8))
    assert found.thumbnail.shape == (0, 3 * 32 * 32)
    assert found.measures.shape == (0, len(MEASURES))


def test_half_precision_is_measured_in_float32():
    images = random(2, 3, 16, 16).bfloat16()
    for name, value in measures(images).items():
        torch.testing.assert_close(value, measures(images.float())[name], rtol=0, atol=0)
