"""Before an epoch is paid for a training step of the real shapes is made, and nothing stays."""

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import ONE_UPDATE, recipe
from zoo.plan.geometry import plan
from zoo.rollout import Weights
from zoo.training.build import build
from zoo.training.collect import shard_groups
from zoo.training.epoch import groups_of
from zoo.training.first_step import try_step

OTHERS = {
    "nft": {},
    "flow_grpo": {"objective__kl_weight": 0.01},
    "dpo": {"data__group_size": 8},
}


def built(algorithm, **changes):
    made = recipe(RECIPES[algorithm], **{**ONE_UPDATE, **OTHERS[algorithm], **changes})
    return made, build(made).stages[0]


def everything(run):
    """All numbers that a step may change."""
    weights = run.model.policy.weights
    sets = [which for which in Weights if which is Weights.LIVE or which in run.model.copies]
    values = {
        f"{which.value}/{name}": p.detach().clone()
        for which in sets
        for name, p in weights.parameters(which).items()
    }
    values |= {f"buffer/{name}": b.clone() for name, b in weights.module.named_buffers()}
    values |= {name: kept.whole().clone() for name, kept in run.model.engine.state().items()}
    return {**values, "random": torch.get_rng_state()}


def tried(run):
    try_step(run.learner, shard_groups(run.collector, groups_of(run, -1)))


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("algorithm", RECIPES)
@pytest.mark.parametrize("lora", ["{rank: 8, alpha: 16}", "null"])
def test_nothing_is_changed(algorithm, lora):
    _, run = built(algorithm, policy__lora=lora)
    before, counted = everything(run), run.model.policy.weights.num_rows
    tried(run)
    after = everything(run)
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert run.model.policy.weights.num_rows == counted
    assert all(p.grad is None for p in run.model.policy.weights.parameters().values())


@pytest.mark.parametrize("algorithm", RECIPES)
def test_its_rows_are_those_of_a_micro_batch_and_it_has_gradients(algorithm, monkeypatch):
    made, run = built(algorithm)
    wanted = plan(made, 1).training.rows
    shapes, gradients = [], []
    loss, update = type(run.objective).loss, type(run.model.engine).update

    def seen(self, policy, rows, draws):
        shapes.append(len(rows.key))
        return loss(self, policy, rows, draws)

    def updated(self, lr):
        gradients.extend(p.grad is not None for p in self._named.values())
        norm = update(self, lr)
        assert not norm < float("inf")
        return norm

    monkeypatch.setattr(type(run.objective), "loss", seen)
    monkeypatch.setattr(type(run.model.engine), "update", updated)
    tried(run)
    assert shapes == [wanted]
    assert gradients
    assert all(gradients)
