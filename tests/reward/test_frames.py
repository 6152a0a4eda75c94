"""Rewards of images on videos: which frames, and how their scores become one."""

import math

import numpy as np
import pytest
import torch

from tests.runs import RECIPES
from zoo.prompt import Prompt
from zoo.recipe.recipe import RecipeError, load_recipe
from zoo.reward.base import KnownAnswer, Reward, Scores
from zoo.reward.frames import OnFrames, chosen_frames
from zoo.reward.judge import Judge, RewardError, WeightedReward

PROMPTS = [Prompt("a"), Prompt("b")]


class Level(Reward):
    """The first pixel, and its square beside it; remembers its calls."""

    def __init__(self):
        self.calls, self.rested = [], 0

    def score(self, images, prompts):
        assert images.ndim == 4
        assert len(images) == len(prompts)
        self.calls.append(images[:, 0, 0, 0].tolist())
        return Scores(images[:, 0, 0, 0], {"square": images[:, 0, 0, 0] ** 2})

    def known_answers(self):
        return [KnownAnswer(torch.zeros(1, 3, 2, 2), PROMPTS[:1], torch.zeros(1), 1e-6)]

    def interrupt(self):
        return True

    def rest(self):
        self.rested += 1


def videos(*levels):
    """A video for each row, its frames of these levels."""
    return torch.tensor(levels)[..., None, None, None].expand(-1, -1, 3, 4, 4)


TWO = videos([0.0, 0.5, 0.25, 1.0], [1.0, 0.5, 0.75, 0.5])


@pytest.mark.parametrize(
    ("how", "value", "square"),
    [
        ("mean", [0.4375, 0.6875], [0.328125, 0.515625]),
        ("first", [0.0, 1.0], [0.0, 1.0]),
        ("last", [1.0, 0.5], [1.0, 0.25]),
        ("min", [0.0, 0.5], [0.0, 0.25]),
    ],
)
def test_frames_scores_become_one(how, value, square):
    found = OnFrames(Level(), how).score(TWO, PROMPTS)
    assert found.value.tolist() == value
    assert found.extras["square"].tolist() == square


def test_no_more_frames_are_scored_than_needed_nor_more_images_at_a_time():
    reward = Level()
    OnFrames(reward, "last").score(TWO, PROMPTS)
    assert reward.calls == [[1.0, 0.5]]
    OnFrames(reward, "mean").score(TWO, PROMPTS)
    assert reward.calls[1:] == TWO[:, :, 0, 0, 0].T.tolist()


@pytest.mark.parametrize(
    ("num", "sample", "wanted"),
    [(9, 3, [0, 4, 8]), (81, 4, [0, 27, 53, 80]), (5, 1, [2]), (3, 7, [0, 1, 2]), (1, 1, [0])],
)
def test_a_sample_is_evenly_spaced_from_first_to_last(num, sample, wanted):
    assert chosen_frames(num, "mean", sample) == wanted


def test_a_frame_that_cannot_be_scored_makes_its_video_invalid():
    broken = TWO.clone()
    broken[1, 2] = math.nan
    for how, invalid in (("mean", True), ("min", True), ("first", False)):
        assert OnFrames(Level(), how).score(broken, PROMPTS).value.isnan().tolist() == [
            False, invalid
        ]  # fmt: skip


def test_of_single_images_it_is_the_reward_itself():
    images = TWO[:, 0]
    wanted = Level().score(images, PROMPTS)
    assert torch.equal(OnFrames(Level(), "min").score(images, PROMPTS).value, wanted.value)


def test_a_groupwise_reward_compares_frames_of_one_time():
    class Place(Reward):
        groupwise = True

        def score(self, images, prompts):
            return images[:, 0, 0, 0].argsort().argsort().float()

    reward = OnFrames(Place(), "mean")
    assert reward.groupwise
    assert reward.score(TWO, PROMPTS).value.tolist() == [0.25, 0.75]


def test_what_else_a_reward_does_is_passed_on():
    inner = Level()
    reward = OnFrames(inner, "mean")
    reward.rest()
    assert inner.rested == 1
    assert reward.interrupt()
    assert len(reward.known_answers()) == 1


class OfVideos(Level):
    takes = "videos"


@pytest.mark.parametrize(
    ("reward", "images", "said"),
    [
        (Level(), TWO, r"'x' looks at single images, and the policy makes videos; write frames: m"),
        (OfVideos(), TWO[:, 0], "'x' looks at videos, and the policy makes single images"),
    ],
)
def test_what_a_reward_cannot_look_at_is_refused_with_the_fix(reward, images, said):
    judge = Judge([WeightedReward("x", reward)], timeout=10, retries=0)
    with pytest.raises(RewardError, match=said):
        judge.submit(images, PROMPTS, torch.zeros(2).long())
    judge.close()


def built(*rewards):
    recipe = load_recipe(RECIPES["nft"], [f"rewards=[{', '.join(rewards)}]"])
    return [entry.build({"device": torch.device("cpu")}) for entry in recipe.rewards]


def test_a_recipe_says_which_frames():
    options = ["frames: mean", "frames: min", "frames: {sample: 2}"]
    rewards = built(
        *[f"{{name: jpeg_compressibility, label: x{i}, {each}}}" for i, each in enumerate(options)],
        "{name: jpeg_compressibility}",
    )
    video = torch.rand(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    *on_frames, plain = rewards
    each = np.array([float(plain.score(video[:, i], PROMPTS[:1])) for i in range(5)])
    found = [float(reward.score(video, PROMPTS[:1]).value) for reward in on_frames]
    np.testing.assert_allclose(found, [each.mean(), each.min(), each[[0, 4]].mean()], rtol=1e-6)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("{name: digit, frames: median}", r"frames.*'mean', 'first', 'last' or 'min'"),
        ("{name: digit, frames: {sample: 0}}", "sample.*>= 1"),
        ("{name: digit, frames: {num: 3}}", "'sample'"),
        ("{name: motion, frames: mean}", "the reward 'motion' looks at whole videos.*remove fra"),
    ],
)
def test_frames_that_cannot_be_are_refused_with_the_key(reward, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe(RECIPES["nft"], [f"rewards=[{reward}]"])


def test_frames_is_no_matter_of_what_is_measured():
    recipe = load_recipe(
        RECIPES["nft"], ["rewards=[{name: digit, frames: mean}, {name: digit, label: two}]"]
    )
    first, second = recipe.rewards
    assert first.measures == second.measures
    assert first.made_from != second.made_from
