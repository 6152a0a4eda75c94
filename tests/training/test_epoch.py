"""From what was collected to what is learned from."""

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import recipe
from zoo.advantage import group_advantage, ranks
from zoo.recipe.recipe import RecipeError, load_recipe
from zoo.rollout import Weights
from zoo.training import metrics
from zoo.training.build import build
from zoo.training.collect import Groups, collect, shard_groups
from zoo.training.epoch import advantages, judged


def test_a_ranked_reward_counts_by_its_order_in_the_group_and_is_recorded_as_it_is():
    rewards = "[{name: digit, rank: true}, {name: jpeg_compressibility, weight: 0.5}]"
    short = {"sampler__steps": 2, "rewards": rewards, "eval": "null"}
    stage = build(recipe(RECIPES["nft"], **short)).stages[0]
    share = shard_groups(
        stage.collector, Groups(stage.mixture.prompts[:3], 4, Weights.LIVE, 1, "collect", 0)
    )
    collected = collect(share, share.generate())
    scores, group = collected.verdict.scores, collected.group
    mixed = ranks(scores["digit"], group) + 0.5 * scores["jpeg_compressibility"].double()
    torch.testing.assert_close(judged(stage, collected).reward.double(), mixed)
    torch.testing.assert_close(advantages(stage, collected), group_advantage(mixed, group))
    recorded = metrics.rewards(collected, stage.collector.judge.weights)
    assert recorded["reward/digit"] == float(scores["digit"].nanmean())


def test_evaluations_have_no_ranks():
    ranked = "[{name: digit, rank: true}]"
    trained = load_recipe(RECIPES["nft"], [f"rewards={ranked}"])
    assert [entry.rank for entry in trained.rewards] == [True]
    with pytest.raises(
        RecipeError, match=r"eval.rewards.*an evaluation reports scores as they are"
    ):
        load_recipe(RECIPES["nft"], [f"eval.rewards={ranked}"])
