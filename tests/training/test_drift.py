"""The drift of a model from its base: against velocities that are computed here."""

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import recipe
from zoo.flow import noised
from zoo.rollout import Weights, take
from zoo.seeds import Draws
from zoo.training.build import build
from zoo.training.collect import Groups, collect, shard_groups
from zoo.training.drift import base_of, measure_drift

SHORT = {"sampler__steps": 2, "data__group_size": 3, "engine__micro_batch__sample": 4}
FULL = {"policy__lora": "null"}


def made(**changes):
    run = build(recipe(RECIPES["nft"], **SHORT, **changes))
    (stage,) = run.stages
    share = shard_groups(
        stage.collector, Groups(stage.mixture.prompts[:3], 3, Weights.LIVE, 7, "collect")
    )
    return run.model, share, collect(share, share.generate()).rollout


def moved(model, by):
    with torch.no_grad():
        for i, parameter in enumerate(model.policy.weights.parameters().values()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i))
            parameter.add_(by * noise)


def found_drift(model, share, rollout):
    return measure_drift(share, rollout, base_of(model.policy.weights, model.copies))


@pytest.mark.parametrize("changes", [{}, FULL], ids=["lora", "full"])
def test_a_model_that_has_not_moved_has_not_drifted(changes):
    assert found_drift(*made(**changes)) == 0


@pytest.mark.parametrize("changes", [{}, FULL], ids=["lora", "full"])
def test_drift_is_the_relative_change_of_the_velocity(changes):
    model, share, rollout = made(**changes)
    policy = model.policy
    chosen = torch.tensor([0, 2, 4, 6])  # evenly spaced among nine images
    x = noised(
        rollout.path.clean[chosen],
        Draws(7, "drift", 0, chosen).normal(tuple(rollout.path.clean.shape[1:])),
        t := torch.tensor([0.125, 0.375, 0.625, 0.875]),
    )
    cond = take(rollout.cond, chosen)
    with torch.no_grad():
        before = policy.velocity(x, t, cond).double()
        moved(model, 0.02)
        after = policy.velocity(x, t, cond).double()
    expected = float((after - before).norm() / before.norm())
    assert expected > 0.01
    assert found_drift(model, share, rollout) == pytest.approx(expected, rel=1e-5)


def test_live_is_active_again_afterwards():
    model, share, rollout = made()
    moved(model, 0.02)
    x, t = rollout.path.clean[:2], torch.tensor([0.5, 0.5])
    cond = take(rollout.cond, torch.arange(2))
    with torch.no_grad():
        before = model.policy.velocity(x, t, cond)
        found_drift(model, share, rollout)
        torch.testing.assert_close(model.policy.velocity(x, t, cond), before, rtol=0, atol=0)


@pytest.mark.slow
def test_a_base_that_nobody_keeps_cannot_be_compared_with():
    model, *_ = made(**FULL, objective__kl_weight=0)
    assert base_of(model.policy.weights, model.copies) is None
    moves_it = frozenset({Weights.REFERENCE})
    model, *_ = made(**FULL)
    assert base_of(model.policy.weights, moves_it) is None
    with pytest.raises(ValueError, match="no frozen base"), model.policy.weights.bare():
        pass


def test_a_lora_run_whose_reference_moves_drifts_from_the_base_itself():
    model = build(recipe(RECIPES["dpo"], **SHORT)).model
    assert Weights.REFERENCE in model.copies
    assert base_of(model.policy.weights, model.copies) == model.policy.weights.bare
