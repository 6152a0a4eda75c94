"""The source of stored images: its options, what is collected of it, and the pairs of that."""

import pytest
import torch

from tests.pictures import encoded, flat
from tests.plugin.reward_weighted_regression import RewardWeightedRegression
from zoo.advantage import group_advantage
from zoo.engine.base import AdamWOptions
from zoo.engine.plain import PlainEngine
from zoo.objective.dpo import DPO
from zoo.policy.digits import Digits
from zoo.prompt import ImageBytes, Prompt
from zoo.reward.base import Reward
from zoo.reward.judge import Judge, WeightedReward
from zoo.reward.preference import Preference
from zoo.rollout import Weights
from zoo.sampler.dataset import Dataset
from zoo.seeds import Draws
from zoo.training.collect import Collector, Groups, collect, shard_groups
from zoo.training.stored import EncodedImages, ImageCache

CPU = torch.device("cpu")


def grey(level):
    return ImageBytes(f"grey {level}", encoded(flat((level, level, level))))


def test_it_has_times_only_where_steps_are_asked_for():
    policy = Digits(CPU)
    assert Dataset().grid(policy) is None
    assert torch.equal(Dataset(steps=4).grid(policy), policy.grid(4))


# By hand: which image is preferred, and by how much; the third pair is a tie.
GROUPS = [
    Prompt("the digit one", {"preference": [0, 1]}, (grey(10), grey(20))),
    Prompt("the digit two", {"preference": [3, -2]}, (grey(30), grey(40))),
    Prompt("the digit three", {"preference": [0.5, 0.5]}, (grey(50), grey(60))),
    Prompt("the digit four", {"preference": [0.2, 0.9]}, (grey(70), grey(80))),
]


def encoded_by(policy):
    return EncodedImages(Dataset(), policy, CPU, ImageCache(1))


PREFERENCE = WeightedReward("preference", Preference())


def collected(policy, look=iter, rewards=(PREFERENCE,)):
    """The groups as a run collects them, with their advantages; `look` is at each batch."""
    policy.weights.allocate(set(), seed=0)
    engine = PlainEngine(policy.weights, AdamWOptions((0.9, 0.999), 1e-8, 0.0, 1.0), device=CPU)
    judge = Judge(rewards, timeout=60, retries=0)
    share = shard_groups(
        Collector(engine, policy, encoded_by(policy), judge, 3),
        Groups(GROUPS, 2, Weights.LIVE, 0, "collect"),
    )
    made = collect(share, look(share.generate()))
    judge.close()
    return made, group_advantage(made.verdict.scores["preference"], made.group)


def test_every_image_is_seen_under_its_own_key_with_its_own_score():
    seen = []

    def look(batches):
        for batch in batches:
            seen.append((batch.looks.thumbnail, batch.key))
            yield batch

    made, _ = collected(Digits(CPU), look)
    assert (made.num_evals, made.num_broken, made.rollout.grid) == (0, 0, None)
    assert made.out_of_range is None  # there are no pixels
    scores = made.verdict.scores["preference"].tolist()
    assert scores == pytest.approx([0, 1, 3, -2, 0.5, 0.5, 0.2, 0.9])
    for thumbnails, key in seen:
        torch.testing.assert_close(thumbnails[:, 0] * 255, 10.0 * (key + 1))


class Brightness(Reward):
    def score(self, images, prompts):
        assert [len(prompt.images) for prompt in prompts] == [1] * len(prompts)
        return images.flatten(1).mean(1)


class HasPixels(Reward):
    """The number of pixels that each image of a group comes with."""

    groupwise = True
    reads_pixels = False

    def score(self, images, prompts):
        assert len(prompts) == 2
        return torch.full((len(images),), float(images[0].numel()))


def test_a_reward_that_reads_pixels_is_given_the_decoded_images():
    rewards = [PREFERENCE, WeightedReward("brightness", Brightness())]
    made, _ = collected(Digits(CPU), rewards=rewards)
    levels = [255 * score for score in made.verdict.scores["brightness"].tolist()]
    assert levels == pytest.approx([10, 20, 30, 40, 50, 60, 70, 80], abs=1e-3)
    assert made.out_of_range < 0
    assert made.verdict.scores["preference"].tolist()[:2] == [0, 1]


def test_rewards_that_read_no_pixels_are_given_none_in_groups_too():
    rewards = [PREFERENCE, WeightedReward("pixels", HasPixels())]
    made, _ = collected(Digits(CPU), rewards=rewards)
    assert made.verdict.scores["pixels"].tolist() == [0] * 8


def test_what_images_are_like_does_not_tell_whether_a_reward_reads_pixels():
    rewards = [PREFERENCE, WeightedReward("brightness", Brightness())]
    bare, decoded = collected(Digits(CPU))[0], collected(Digits(CPU), rewards=rewards)[0]
    assert bare.stats == pytest.approx(decoded.stats, abs=1e-7)


def shown(latents):
    return ((latents[:, 0, 0, 0] + 1) * 127.5).round().tolist()


def test_the_preferred_image_is_the_winner_and_a_tie_weighs_nothing():
    made, advantage = collected(Digits(CPU))
    dpo = DPO(ref_update=0, draws_per_pair=3)
    rows = dpo.rows(made.rollout, advantage, Draws(0, "rows", 0, made.rollout.key))
    kept = rows.weight.bool().tolist()
    assert kept == [True] * 6 + [False] * 3 + [True] * 3
    both = zip(shown(rows.win.rows()), shown(rows.lose.rows()), strict=True)
    pairs = [pair for pair, keep in zip(both, kept, strict=True) if keep]
    assert pairs == [(20, 10)] * 3 + [(30, 40)] * 3 + [(80, 70)] * 3


def test_reward_weighted_regression_learns_from_the_preferred_images():
    policy = Digits(CPU)
    made, advantage = collected(policy)
    # At this temperature all weight is on the images that are better than the average.
    algorithm = RewardWeightedRegression(temperature=0.1, times_per_image=2)
    rows = algorithm.rows(made.rollout, advantage, Draws(0, "rows", 0, made.rollout.key))
    level = torch.tensor(shown(rows.clean.rows()))
    heavy = rows.weight > rows.weight.max() * 1e-6
    assert set(level[heavy].tolist()) == {30}
    loss = algorithm.loss(policy, rows, Draws(0, "loss", 0, rows.key)).per_row
    loss[heavy].mean().backward()
    gradients = [p.grad for p in policy.weights.parameters().values() if p.grad is not None]
    assert any(bool(g.abs().max() > 0) for g in gradients)
