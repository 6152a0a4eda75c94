"""How well frames follow from each other, against block matching written block by block."""

import math

import numpy as np
import pytest
import torch

from tests.reward import block_reference
from tests.reward.videos import noise, sliding, window
from zoo.prompt import Prompt
from zoo.reward.smoothness import Smoothness
from zoo.testing import RewardTests


def score(video):
    return float(Smoothness().score(video[None], [Prompt("")]))


@pytest.mark.parametrize("size", [(8, 8), (9, 21), (40, 30)])
def test_it_is_the_reference(size):
    video = torch.from_numpy(np.stack([noise(*size, seed) for seed in range(3)])).float()
    _, error = block_reference.matches(video.double().numpy())
    assert score(video) == pytest.approx(1 - error.mean(), abs=1e-6)


def test_what_moves_is_as_smooth_as_what_stands_still_and_what_flickers_is_not():
    texture = noise(80, 80)
    still = window(texture, 64, 64, [(8, 8)] * 3)
    pan = window(texture, 64, 64, [(8, 8 + 2 * i) for i in range(3)])
    flicker = still.clone()
    flicker[1] *= 0.5
    assert score(still) == 1
    assert score(pan) > 0.98
    assert score(flicker) < 0.9


def test_a_jump_costs_more_than_the_same_way_in_steps():
    texture = noise(80, 80)
    steps = window(texture, 64, 64, [(8, 2 * i) for i in range(7)])
    jump = window(texture, 64, 64, [(8, 0)] * 3 + [(8, 12)] * 4)
    assert score(jump) < score(steps) - 0.02


def test_a_video_of_one_frame_has_none():
    assert math.isnan(score(torch.rand(1, 3, 8, 8)))


class TestSmoothnessContract(RewardTests):
    def make(self):
        return Smoothness()

    def images(self, num):
        return sliding(num)
