"""A forward that is run once counts as if it had been run at every step."""

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import recipe
from zoo.plan import dry_collect
from zoo.plan.footprint import footprint
from zoo.plan.one_forward import OneForward
from zoo.policy.digits import Digits


class EveryForward(OneForward):
    """Runs them all."""

    def _velocity(self, x, t, cond):
        return self._network.velocity(x, t, cond)


WINDOW = "{name: sde_window, inside: {name: flow_sde}, outside: {name: dpm2}, size: 2}"


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        pytest.param("nft", {}, marks=pytest.mark.slow),
        pytest.param(
            "nft",
            {"sampler__solver": "{name: heun}", "engine__micro_batch__sample": 40},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "nft",
            {"eval__guidance": 3.0, "policy__lora": "null", "policy__copies_on": "cpu"},
            marks=pytest.mark.slow,
        ),
        pytest.param("flow_grpo", {}, marks=pytest.mark.slow),
        pytest.param("flow_grpo", {"sampler__solver": WINDOW}, marks=pytest.mark.slow),
        pytest.param("dpo", {"sampler__guidance": 2.0}, marks=pytest.mark.slow),
    ],
)
def test_bytes_and_operations_are_those_of_all_forwards(algorithm, changes, monkeypatch):
    made = recipe(RECIPES[algorithm], **{"sampler__steps": 5, "eval__steps": 4, **changes})
    once = footprint(made, 1)
    monkeypatch.setattr(dry_collect, "OneForward", EveryForward)
    every = footprint(made, 1)
    for what in ("sampling", "training", "evaluating", "building", "outside", "flops"):
        assert getattr(once, what) == getattr(every, what), what
    assert once.sampling > 0
    assert once.flops > 0


@pytest.mark.slow
def test_the_steps_of_a_sampler_cost_no_forwards(monkeypatch):
    calls, velocity = [], Digits.velocity

    def counted(self, x, t, cond):
        calls.append(torch.is_grad_enabled())
        return velocity(self, x, t, cond)

    monkeypatch.setattr(Digits, "velocity", counted)
    made = [recipe(RECIPES["nft"], sampler__steps=steps) for steps in (2, 200)]
    numbers = []
    for one in made:
        calls.clear()
        footprint(one, 1)
        numbers.append(len(calls))
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("key", ["sampler.steps", "eval.steps"])
def test_more_steps_than_any_sampler_takes_are_refused(key):
    with pytest.raises(Exception, match=rf"{key} must be .* 10,?000, not 999999999"):
        recipe(RECIPES["nft"], **{key.replace(".", "__"): 999_999_999})
