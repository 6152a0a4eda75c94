"""From what was collected to what is learned from."""

from copy import copy
from dataclasses import replace
from itertools import chain

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import ONE_UPDATE, epoch_here, recipe
from zoo.advantage import group_advantage, ranks
from zoo.recipe.recipe import RecipeError, load_recipe
from zoo.rollout import Weights
from zoo.training import metrics
from zoo.training.build import build
from zoo.training.collect import Groups, collect, shard_groups
from zoo.training.epoch import advantages, coming_prompts, groups_of, judged


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


def test_a_policy_is_told_the_process_s_own_prompts_of_the_epochs_to_come(monkeypatch, tmp_path):
    changes = {**ONE_UPDATE, "epochs": 4, "data__groups_per_epoch": 5, "data__group_size": 2}
    run = build(recipe(RECIPES["nft"], **changes))
    stage, told = run.stages[0], []
    policy, engine = stage.collector.policy, copy(stage.collector.engine)
    monkeypatch.setattr(policy, "expect", lambda coming, *, guidance: told.append(coming))
    for epoch in range(2):
        epoch_here(stage, epoch)
    first, *drawn = (groups_of(stage, epoch).prompts for epoch in range(4))
    assert len(first) == 5
    # Those of the last epochs; of what comes after them nobody will ask.
    assert [coming() for coming in told] == [[*chain(*drawn)], [*chain(*drawn[1:])]]
    engine.rank, engine.size = 1, 2
    second = replace(stage, collector=replace(stage.collector, engine=engine))
    assert coming_prompts(second, 1) == [*drawn[1][1::2], *drawn[2][1::2]]


def test_evaluations_have_no_ranks():
    ranked = "[{name: digit, rank: true}]"
    trained = load_recipe(RECIPES["nft"], [f"rewards={ranked}"])
    assert [entry.rank for entry in trained.rewards] == [True]
    with pytest.raises(
        RecipeError, match=r"eval.rewards.*an evaluation reports scores as they are"
    ):
        load_recipe(RECIPES["nft"], [f"eval.rewards={ranked}"])
