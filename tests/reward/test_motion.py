"""How much moves, against block matching written block by block."""

import math

import numpy as np
import pytest
import torch

from tests.reward import block_reference
from tests.reward.videos import noise, sliding, window
from zoo.prompt import Prompt
from zoo.reward.motion import Motion
from zoo.testing import RewardTests


def score(video, **options):
    found = Motion(**options).score(video[None], [Prompt("")])
    return float(found.value), float(found.extras["pixels"])


def test_it_is_the_reference_where_parts_move_and_others_do_not():
    texture = noise(60, 60)
    still, moved = texture[:, :36, :52], texture[:, 3:39, 2:54]
    frames = [still, still.copy(), still.copy()]
    frames[1][:, :16, :20] = moved[:, :16, :20]
    frames[2][:, 20:, 30:] = moved[:, 20:, 30:]
    video = torch.from_numpy(np.stack(frames)).float()
    distance, _ = block_reference.matches(video.double().numpy())
    assert 0 < (distance > 0).mean() < 1
    value, pixels = score(video, enough=0.05)
    assert value == pytest.approx(distance.mean() / 0.05, rel=1e-5)
    assert pixels == pytest.approx(distance.mean() * 52, rel=1e-5)


@pytest.mark.parametrize(("down", "right"), [(0, 1), (2, 0), (-1, 2), (0, -3)])
def test_a_pan_is_as_far_as_it_goes(down, right):
    video = window(noise(80, 80), 64, 64, [(8 + i * down, 8 + i * right) for i in range(3)])
    _, pixels = score(video)
    # At the edge that is new nothing fits.
    assert 0.8 * math.hypot(down, right) < pixels <= math.hypot(down, right)


def test_more_than_enough_is_not_better():
    slow, fast = (window(noise(80, 80), 64, 64, [(8, 8), (8, 8 + by)]) for by in (2, 3))
    assert score(slow, enough=0.02)[0] == score(fast, enough=0.02)[0] == 1
    assert score(slow, enough=0.05)[0] < score(fast, enough=0.05)[0] < 1


@pytest.mark.parametrize(
    "frames",
    [
        np.stack([noise(32, 32)] * 4),
        np.stack([noise(32, 32, seed) for seed in range(4)]),
        np.stack([np.full((3, 32, 32), level) for level in (0.0, 1.0, 0.5, 0.2)]),
        np.stack([noise(32, 32) * level for level in (1.0, 0.7, 0.4, 0.1)]),
        np.stack([0.5 + noise(32, 32, seed) / 1000 for seed in range(4)]),
    ],
    ids=["still", "noise", "flicker", "fade", "dust"],
)
def test_what_only_changes_does_not_move(frames):
    assert score(torch.from_numpy(frames).float()) == (0.0, 0.0)


def test_it_does_not_depend_on_the_size():
    small = window(noise(80, 80), 64, 64, [(8, 8), (8, 10)])
    large = small.repeat_interleave(8, -1).repeat_interleave(8, -2)
    value, pixels = score(small, enough=0.05)
    assert score(large, enough=0.05) == pytest.approx((value, 8 * pixels), rel=0.05)


def test_a_video_of_one_frame_has_none():
    assert math.isnan(score(torch.rand(1, 3, 8, 8))[0])


class TestMotionContract(RewardTests):
    def make(self):
        return Motion()

    def images(self, num):
        return sliding(num)
