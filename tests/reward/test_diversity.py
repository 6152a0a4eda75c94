"""Diversity within a group."""

import math

import numpy as np
import pytest
import torch

from zoo.prompt import Prompt
from zoo.reward.diversity import Diversity

SHAPES = [(3, 4, 4), (3, 5, 7), (2, 3, 4, 4)]


def prompts(num: int) -> list[Prompt]:
    return [Prompt("a")] * num


@pytest.mark.parametrize("num", [2, 3, 6])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_mean_distance_to_the_others(dtype, shape, num) -> None:
    generator = torch.Generator().manual_seed(num)
    images = torch.rand(num, *shape, generator=generator).to(dtype)
    pixels = images.double().numpy()
    wanted = [
        sum(math.sqrt(np.mean((a - b) ** 2)) for j, b in enumerate(pixels) if j != i) / (num - 1)
        for i, a in enumerate(pixels)
    ]
    np.testing.assert_allclose(Diversity().score(images, prompts(num)), wanted, atol=1e-9)


def test_equal_images_have_none_and_black_and_white_have_all() -> None:
    same = torch.full((3, 3, 4, 4), 0.3)
    assert Diversity().score(same, prompts(3)).tolist() == [0, 0, 0]
    opposite = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    torch.testing.assert_close(Diversity().score(opposite, prompts(2)), torch.ones(2).double())


def test_it_does_not_depend_on_the_resolution() -> None:
    small = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    large = small.repeat_interleave(4, -1).repeat_interleave(4, -2)
    score = Diversity().score
    torch.testing.assert_close(score(small, prompts(3)), score(large, prompts(3)))


def test_a_group_of_one_has_no_diversity_to_speak_of() -> None:
    assert Diversity().score(torch.zeros(1, 3, 2, 2), prompts(1)).isnan().tolist() == [True]


def test_it_is_called_by_whole_groups() -> None:
    assert Diversity.groupwise
