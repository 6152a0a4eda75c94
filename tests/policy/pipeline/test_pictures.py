"""Pictures as rewards see them."""

import pytest
import torch

from zoo.policy.pipeline.pictures import on_white

SIDE = 2


def of(*channels):
    return torch.tensor(channels).reshape(1, -1, 1, 1).expand(1, len(channels), SIDE, SIDE)


@pytest.mark.parametrize(
    ("opacity", "seen"), [(1.0, [0.2, 0.4, 0.8]), (0.0, [1, 1, 1]), (0.5, [0.6, 0.7, 0.9])]
)
def test_what_is_not_opaque_is_seen_over_white(opacity, seen):
    torch.testing.assert_close(on_white(of(0.2, 0.4, 0.8, opacity)), of(*map(float, seen)))


def test_a_video_s_frames_are_seen_so_each():
    video = torch.stack([of(0.2, 0.4, 0.8, 1.0), of(0.2, 0.4, 0.8, 0.0)], dim=1)
    assert on_white(video).shape == (1, 2, 3, SIDE, SIDE)
    assert torch.equal(on_white(video)[:, 1], torch.ones(1, 3, SIDE, SIDE))


def test_pictures_of_three_colours_are_as_they_were():
    images = of(0.2, 0.4, 0.8)
    assert on_white(images) is images
