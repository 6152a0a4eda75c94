"""From a recipe to objects: what each is given, and what is not built."""

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import recipe
from zoo.rollout import Weights
from zoo.training.build import build, image_model

SHORT = {"epochs": 4, "optim__updates_per_epoch": 3, "sampler__steps": 2}


def test_what_makes_what_learns_and_what_evaluates_have_the_recipes_numbers():
    changes = {
        **SHORT, "engine__micro_batch": "{sample: 5, train: 7}", "eval__images_per_prompt": 2,
        "optim__ema": "{cap: 0.9}", "optim__lr": 0.25, "seed": 11,
    }  # fmt: skip
    run = build(recipe(RECIPES["nft"], **changes))
    (stage,) = run.stages
    assert run.epochs == 4
    assert (stage.collector.micro_batch, stage.learner.micro_batch) == (5, 7)
    assert (stage.learner.num_updates, stage.learner.ema_cap) == (3, 0.9)
    assert (stage.learner.rate.peak, stage.learner.rate.total) == (0.25, 12)
    groups = stage.evaluator.groups
    assert (groups.size, groups.seed, groups.weights) == (2, 11, Weights.EMA)
    assert stage.evaluator.collector.judge is not stage.collector.judge  # it has eval.rewards
    assert run.model.copies == {Weights.OLD, Weights.EMA}


def test_evaluation_is_by_the_training_rewards_where_it_names_none():
    (stage,) = build(recipe(RECIPES["nft"], **SHORT, eval__rewards="[]")).stages
    assert stage.evaluator.collector.judge is stage.collector.judge
    assert build(recipe(RECIPES["nft"], **SHORT, eval="null")).stages[0].evaluator is None


def test_the_learning_rate_is_over_the_updates_of_all_stages():
    stages = "[{epochs: 1}, {epochs: 3, optim: {updates_per_epoch: 1}}]"
    run = build(recipe(RECIPES["nft"], **SHORT, stages=stages))
    assert [stage.learner.rate.total for stage in run.stages] == [6, 6]
    assert [stage.learner.num_updates for stage in run.stages] == [3, 1]
    assert [run.stage_at(epoch).stage.index for epoch in (0, 1, 3, 4)] == [0, 1, 1, 1]


@pytest.mark.parametrize("which", [Weights.LIVE, Weights.OLD])
def test_a_model_for_images_has_the_weights_asked_for_and_no_others(which, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a reward was built")

    monkeypatch.setattr("zoo.training.components.Shared.judge", refuse)
    model = image_model(recipe(RECIPES["nft"], **SHORT), which)
    assert model.copies == {which} - {Weights.LIVE}
    assert model.policy.weights.has(Weights.OLD) == (which is Weights.OLD)
    with model.policy.weights.using(which), torch.no_grad():
        model.policy.decode(torch.zeros(1, *model.policy.latent_shape))
