"""The distance to the nearest of a group, by the features of a reward's network."""

import pytest
import torch

from zoo.data.digits import halves
from zoo.data.digits import prompts as digit_prompts
from zoo.reward.clipscore import ClipScore
from zoo.reward.digits import Digit
from zoo.reward.jpeg import JpegCompressibility
from zoo.reward.nearest import Nearest
from zoo.testing import RewardTests

CPU = torch.device("cpu")


class TestNearestByDigits(RewardTests):
    def make(self):
        return Nearest(by=Digit(CPU))

    def images(self, num):
        return digits(num)

    def prompts(self, num):
        return digit_prompts("train")[:num]


def digits(count):
    return torch.tensor(halves()[1].images[:count]).unsqueeze(1).repeat(1, 3, 1, 1)


def test_it_is_one_less_the_largest_cosine_to_another_of_the_group():
    by, images = Digit(CPU), digits(5)
    features = by.features(images).double()
    found = Nearest(by=by).score(images, digit_prompts("train")[:5])
    for i in range(5):
        cosines = [
            float(features[i] @ features[j] / (features[i].norm() * features[j].norm()))
            for j in range(5)
            if j != i
        ]
        assert float(found[i]) == pytest.approx(1 - max(cosines), abs=1e-9)


def test_an_image_that_is_there_twice_has_no_distance():
    images = digits(3)[[0, 1, 1]]
    found = Nearest(by=Digit(CPU)).score(images, digit_prompts("train")[:3])
    assert found[1:].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert float(found[0]) > 0


def test_clip_has_features(tmp_path):
    by = ClipScore(CPU, **ClipScore.write_tiny(tmp_path))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = by.features(images)
    assert features.shape[0] == 3
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))


def test_a_reward_without_features_is_refused_with_the_fix():
    with pytest.raises(ValueError, match=r"has no features of images; write by: {name: clipscore}"):
        Nearest(by=JpegCompressibility())
