"""The geometry of an epoch, and where what does not fit is said to be written."""

import pytest

from tests.runs import RECIPES
from zoo.plan.geometry import PlanError, plan
from zoo.plan.preflight import geometry
from zoo.recipe.recipe import RecipeError, load_recipe

WINDOW = (
    "sampler.solver={name: sde_window, size: 99, inside: {name: flow_sde}, outside: {name: euler}}"
)


def test_counts_are_those_of_the_recipe():
    recipe = load_recipe(
        RECIPES["nft"],
        [
            "data.groups_per_epoch=3",
            "data.group_size=4",
            "sampler.steps=5",
            "objective.trained_steps=2",
            "optim.updates_per_epoch=2",
        ],
    )
    planned = plan(recipe, 2)
    assert planned.images == 12
    assert planned.collect_forwards == 12 * 5
    assert planned.rows == 12 * 2
    # The first process has two of the three groups, and all run as many micro-batches.
    assert planned.sampling.count * planned.sampling.rows >= 8


@pytest.mark.parametrize(
    ("name", "overrides", "processes", "loc", "text"),
    [
        ("nft", ["data.groups_per_epoch=2"], 3, ("data", "groups_per_epoch"), "less than the 3"),
        ("nft", ["objective.trained_steps=99"], 1, ("objective", "trained_steps"), "only 10 of"),
        (
            "flow_grpo",
            ["objective.trained_steps=99"],
            1,
            ("objective", "trained_steps"),
            "only 9 steps have a log-probability",
        ),
        (
            "dpo",
            ["objective.pairs_per_group=99"],
            1,
            ("objective", "pairs_per_group"),
            "the objective 'dpo': pairs_per_group is 99, but group 0 has only",
        ),
        (
            "dpo",
            ["engine.micro_batch.train=1"],
            1,
            ("engine", "micro_batch", "train"),
            "each row is 2 images; write at least 2",
        ),
        (
            "dpo",
            ["optim.updates_per_epoch=30", "data.groups_per_epoch=4", "data.group_size=8"],
            1,
            ("optim", "updates_per_epoch"),
            "images or pairs to train on",
        ),
        (
            "flow_grpo",
            [WINDOW],
            1,
            ("sampler", "solver"),
            "the window of the solver reaches up to step 99",
        ),
    ],
    ids=["groups", "nft", "flow_grpo", "pairs", "images of a row", "updates", "window"],
)
def test_what_does_not_fit_says_which_option_to_change(name, overrides, processes, loc, text):
    recipe = load_recipe(RECIPES[name], overrides)
    with pytest.raises(PlanError) as raised:
        plan(recipe, processes)
    assert raised.value.loc == loc
    assert text in str(raised.value)
    with pytest.raises(RecipeError) as refused:
        geometry(recipe, processes)
    assert str(refused.value) == f"{recipe.origin(loc)}: {raised.value}"


def test_an_objective_that_names_no_option_is_at_fault_itself(monkeypatch):
    recipe = load_recipe(RECIPES["nft"])

    def rows(*arguments):
        raise ValueError("it has no rows")

    monkeypatch.setattr(recipe.objective.cls, "rows", rows)
    with pytest.raises(PlanError, match=r"^the objective 'nft': it has no rows") as raised:
        plan(recipe, 1)
    assert raised.value.loc == ("objective",)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("processes", [1, 8, 16])
def test_no_row_is_run_in_vain_where_the_geometry_allows(name, processes):
    recipe = load_recipe(
        RECIPES[name],
        ["data.groups_per_epoch=48", "data.group_size=24", "optim.updates_per_epoch=3",
         "sampler.steps=3"],
    )  # fmt: skip
    planned = plan(recipe, processes)
    assert planned.sampling.filled == pytest.approx(0)
    assert planned.training.filled == pytest.approx(0)
