"""What an edit has kept: SSIM against NumPy's float64, masks, and prompts that lack an input."""

import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.pictures import encoded, flat, noise
from zoo.data.images import floats
from zoo.prompt import ImageBytes, Prompt, PromptError
from zoo.reward.preservation import Preservation
from zoo.testing import RewardTests
from zoo.testing.inputs import some_images


def prompt(picture, **metadata):
    return Prompt("make it blue", metadata, inputs=(ImageBytes("it", encoded(picture)),))


def score(image, asked):
    return float(Preservation().score(image[None], [asked]))


def reference(first, second):
    """SSIM place by place, in float64: [height, width] arrays of 3 channels first."""
    size = min(11, *first.shape[1:])
    size -= 1 - size % 2
    away = np.arange(size) - size // 2
    weight = np.exp(-(away[:, None] ** 2 + away**2) / (2 * 1.5**2))
    weight /= weight.sum()
    rows, columns = (n - size + 1 for n in first.shape[1:])
    found = np.zeros((rows, columns))
    for y, x in np.ndindex(rows, columns):
        for channel in range(3):
            a, b = (one[channel, y : y + size, x : x + size] for one in (first, second))
            mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
            var_a = (weight * (a - mean_a) ** 2).sum()
            var_b = (weight * (b - mean_b) ** 2).sum()
            both = (weight * (a - mean_a) * (b - mean_b)).sum()
            found[y, x] += (
                (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
                / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)) / 3
            )  # fmt: skip
    return found


@pytest.mark.parametrize("size", [(20, 16), (11, 11), (8, 8), (40, 6)])
def test_it_is_ssim(size):
    before, after = noise(0, size), noise(1, size)
    mixed = Image.blend(before, after, 0.3)
    wanted = reference(*(floats(one).double().numpy() for one in (before, mixed)))
    assert score(floats(mixed), prompt(before)) == pytest.approx(wanted.mean(), abs=1e-5)


def test_an_image_that_is_as_it_was_scores_1_and_another_near_0():
    before = noise(0, (32, 32))
    assert score(floats(before), prompt(before)) == pytest.approx(1.0, abs=1e-6)
    assert abs(score(floats(noise(1, (32, 32))), prompt(before))) < 0.1


def test_an_input_of_another_size_is_brought_to_the_outputs():
    before = noise(0, (8, 8)).resize((64, 64), Image.Resampling.BICUBIC)
    smaller = before.resize((32, 32), Image.Resampling.BICUBIC)
    assert score(floats(smaller), prompt(before)) == pytest.approx(1.0, abs=1e-6)


def test_what_is_in_the_mask_may_change():
    before = noise(0, (40, 40))
    after = floats(before)
    after[:, 10:20, 10:30] = 0.0
    box = [0.25, 0.25, 0.75, 0.5]
    assert score(after, prompt(before)) < 0.8
    assert score(after, prompt(before, mask=box)) == pytest.approx(1.0, abs=1e-6)
    halves = [[0.25, 0.25, 0.5, 0.5], [0.5, 0.25, 0.75, 0.5]]
    assert score(after, prompt(before, mask=halves)) == pytest.approx(1.0, abs=1e-6)
    assert score(after, prompt(before, mask=halves[0])) < 0.95


def test_places_beside_the_mask_count_as_the_reference_has_them():
    before, after = noise(0, (24, 30)), noise(1, (24, 30))
    places = reference(*(floats(one).double().numpy() for one in (before, after)))
    # The box is rows 0 to 5 and columns 0 to 9: windows that begin below or right of it are free.
    free = [(y, x) for y, x in np.ndindex(*places.shape) if y >= 6 or x >= 10]
    asked = prompt(before, mask=[0, 0, 1 / 2.4, 0.2])
    wanted = np.mean([places[place] for place in free])
    assert (places.shape, len(free)) == ((20, 14), 20 * 14 - 6 * 10)
    assert score(floats(after), asked) == pytest.approx(wanted, abs=1e-5)


def test_where_all_may_change_there_is_no_score():
    before = noise(0, (16, 16))
    assert math.isnan(score(floats(before), prompt(before, mask=[0, 0, 1, 1])))


def test_the_first_of_several_inputs_counts():
    first, second = noise(0, (16, 16)), noise(1, (16, 16))
    both = Prompt("x", inputs=(*prompt(first).inputs, *prompt(second).inputs))
    assert score(floats(first), both) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    "mask",
    [[0, 0, 1], [0, 0, 2, 1], [0.5, 0, 0.5, 1], [0, 0, True, 1], "a.png", [[0, 0, 1, 1], 3], 3,
     [0, 0, math.nan, 1]],
)  # fmt: skip
def test_a_mask_that_is_none_is_refused_before_anything_is_loaded(mask):
    with pytest.raises(PromptError, match=r"has the mask .*; write \[left, top, right, bottom\]"):
        Preservation.check_prompt(prompt(flat("red"), mask=mask), {})


def test_a_prompt_without_an_input_is_refused_before_anything_is_loaded():
    with pytest.raises(PromptError, match="comes with no image, and the reward 'preservation'"):
        Preservation.check_prompt(Prompt("x"), {})


class TestPreservationContract(RewardTests):
    def make(self):
        return Preservation()

    def images(self, num):
        return some_images(num, 16)

    def prompts(self, num):
        pictures = []
        for i in range(num):
            buffer = BytesIO()
            noise(i % 5, (16, 16)).save(buffer, format="PNG")
            pictures.append(Prompt(str(i), inputs=(ImageBytes(f"{i % 5}", buffer.getvalue()),)))
        return pictures
