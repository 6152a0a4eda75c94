"""Objectives, rewards and advantages that do not go together: refused before anything is loaded."""

import pytest

from tests.runs import ROOT
from tests.train_here import recipe
from zoo.plan.geometry import StandIn, _rows_of, _sample_one, plan
from zoo.recipe.errors import RecipeError
from zoo.training.cut import updates as updates_of

HELD_OUT = "[{name: digit}, {name: digit_judge, label: judge, weight: 0}]"
GATE = "{rewards: [judge]}"


def refused(name, **changes):
    with pytest.raises(RecipeError) as caught:
        recipe(ROOT / "recipes" / f"{name}_digits.yaml", **changes)
    (line,) = caught.value.lines
    return line


@pytest.mark.parametrize("name", ["flow_grpo", "grpo_guard", "flow_dppo"])
def test_an_objective_on_paths_needs_a_stochastic_solver(name):
    line = refused(name, sampler__solver="{name: dpm2}")
    assert f"the objective '{name}' needs a StochasticSolver" in line
    assert "write sampler.solver: {name: cps}" in line


@pytest.mark.parametrize("name", ["dpo", "nft", "awm", "dgpo", "crd"])
def test_one_image_a_group_cannot_be_compared(name):
    line = refused(name, data__group_size=1, optim__updates_per_epoch=1)
    assert "write data.group_size: 2 or more" in line


def test_one_image_a_group_is_fine_where_nothing_is_compared():
    made = recipe(
        ROOT / "recipes" / "kto_digits_offline.yaml", data__group_size=1,
        optim__updates_per_epoch=1, data__groups_per_epoch=4,
    )  # fmt: skip
    assert plan(made, 1).rows == 4 * 10


def test_a_gated_distance_needs_a_gate():
    line = refused("nft", objective__kl="{on: gated}")
    assert "objective.kl.on is gated" in line
    assert "write advantage.gate: {rewards: [LABEL]}" in line
    recipe(
        ROOT / "recipes" / "nft_digits.yaml", objective__kl="{on: gated}", rewards=HELD_OUT,
        advantage__gate=GATE,
    )  # fmt: skip


def test_a_gate_needs_rewards_that_are_held_out():
    line = refused("nft", advantage__gate="{rewards: [digit]}")
    assert "names 'digit', and no reward of that label is held out" in line
    line = refused("nft", advantage__diversity="nearest")
    assert "advantage.diversity names 'nearest'" in line
    assert "rewards: [..., {name: ..., label: nearest, weight: 0}]" in line


def test_a_reward_of_no_weight_must_be_named():
    assert "a reward of weight 0 trains nothing" in refused("nft", rewards=HELD_OUT)


def test_something_must_be_trained_on():
    line = refused(
        "nft", rewards="[{name: digit_judge, label: judge, weight: 0}]", advantage__gate=GATE
    )
    assert "all rewards have weight 0" in line


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("nft", {"objective__kl": "{to: ema}"}, "objective.kl.to"),
        ("crd", {"objective__collect_with": "ema"}, "objective.collect_with"),
    ],
)
def test_the_moving_average_must_be_there(name, change, what):
    line = refused(name, **change)
    assert f"{what} is ema, and there is no moving average; write optim.ema: {{cap: 0.9}}" in line
    recipe(ROOT / "recipes" / f"{name}_digits.yaml", **change, optim__ema="{cap: 0.9}")


@pytest.mark.parametrize("name", ["dgpo", "crd"])
def test_a_group_cannot_cross_an_updates_cut(name):
    line = refused(name, data__groups_per_epoch=3)
    assert "optim.updates_per_epoch is 4" in line
    assert "would cross an update's cut; write 3 or fewer, or more data.groups_per_epoch" in line


@pytest.mark.parametrize("updates", [1, 2, 3, 5])
def test_a_group_is_in_one_update_on_any_number_of_processes(updates):
    made = recipe(
        ROOT / "recipes" / "dgpo_digits.yaml", data__groups_per_epoch=5,
        optim__updates_per_epoch=updates,
    )  # fmt: skip
    one = _sample_one(made, StandIn())
    for processes in (1, 3):
        for rank in range(processes):
            rows = _rows_of(made, one, rank, processes)
            every = updates_of(rows.unit, updates, num_groups=5, seed=0, epoch=0)
            for unit in rows.unit.unique():
                assert len(every[rows.unit == unit].unique()) == 1
