import json
from dataclasses import dataclass
from typing import Annotated

import pytest
from annotated_types import Ge
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from tests.recipe.fakes import never_called
from tests.runs import ROOT
from zoo.recipe.json_schema import recipe_schema
from zoo.recipe.recipe import load_recipe
from zoo.reward.base import Reward
from zoo.sampler.base import Sampler, Solver

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
BASE = YAML(typ="safe").load(ROOT / "recipes" / "nft_digits.yaml")


@pytest.fixture(scope="module")
def wrong():
    """What is wrong with a recipe, as an editor says it: the place of each mistake."""
    schema = recipe_schema()
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema)

    def wrong(recipe):
        # As a file has it: no tuples, no paths.
        errors = validator.iter_errors(json.loads(json.dumps(recipe)))
        return [".".join(map(str, error.absolute_path)) for error in errors]

    return wrong


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_a_recipe_is_right_as_written_and_as_resolved(wrong, path):
    assert wrong(YAML(typ="safe").load(path)) == []
    assert wrong(load_recipe(path).resolved()) == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"epoch": 3}, ""),
        ({"epochs": "many"}, "epochs"),
        ({"epochs": 0}, "epochs"),
        ({"objective": {"name": "nft", "bta": 1.0}}, "objective"),
        ({"objective": {"name": "nft", "beta": -1.0}}, "objective.beta"),
        ({"objective": {"name": "nft", "old": {"rat": 0.1}}}, "objective.old"),
        ({"objective": {"beta": 1.0}}, "objective"),
        ({"objective": {"name": "nfd"}}, "objective.name"),
        ({"rewards": []}, "rewards"),
        ({"rewards": [{"name": "digit", "wieght": 2}]}, "rewards.0"),
        ({"rewards": [{"name": "jpeg_compressibility", "quality": 101}]}, "rewards.0.quality"),
        ({"sampler": {"steps": 3}}, "sampler"),
        ({"sampler": {"steps": 3, "solver": {"name": "eular"}}}, "sampler.solver.name"),
        ({"sampler": {"steps": 3, "solver": {"name": "cps", "eta": 2}}}, "sampler.solver.eta"),
        ({"optim": {"betas": [0.9, 0.99, 0.999]}}, "optim.betas"),
        ({"policy": {"name": "digits", "lora": {"rnak": 8}}}, "policy.lora"),
        ({"stages": []}, "stages"),
        ({"stages": [{"rewards": []}]}, "stages.0"),
        ({"stages": [{"epochs": 1, "seed": 1}]}, "stages.0"),
        ({"stages": [{"epochs": 1}, {"epochs": 1, "optim": {"betas": [0, 0]}}]}, "stages.1.optim"),
        ({"stages": [{"epochs": 1, "rewards": [{"name": "digt"}]}]}, "stages.0.rewards.0.name"),
        ({"stages": [{"epochs": 1, "data": {"trian": "x"}}]}, "stages.0.data"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(wrong, changes, place):
    assert place in wrong(BASE | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": {"name": "digits", "lora": None}},
        {"policy": {"name": "diffusion-rl-zoo:digits"}},
        {"rewards": [{"name": "diffusion-rl-zoo:digit", "weight": -2, "label": "d"}]},
        {"rewards": [{"name": "elsewhere", "isolate": {"python": "p"}, "its": {"own": 1}}]},
        {"sampler": {"name": "flow", "steps": 3, "solver": {"name": "euler"}}},
        {"eval": None},
        {"engine": {"processes": "auto"}},
        {"stages": None},
        {"stages": [{"epochs": 1, "objective": {"beta": 1.0}, "optim": {"lr": 0.1}, "eval": None}]},
        {"stages": [{"epochs": 1, "name": "a", "sampler": {"solver": {"name": "euler"}}}]},
    ],
)
def test_what_a_recipe_may_say_is_right(wrong, changes):
    assert wrong(BASE | changes) == []


def test_a_recipe_that_extends_another_may_leave_out_all_but_misspell_nothing(wrong):
    assert wrong({"extends": "base.yaml"}) == []
    part = {"extends": "base.yaml", "objective": {"beta": 0.5}, "data": {"group_size": 4}}
    assert wrong(part) == []
    assert wrong(part | {"sampler": {"shift": 2}}) == []
    assert wrong(part | {"data": {"group_siz": 4}}) == ["data"]
    assert wrong(part | {"objective": {"name": "nft", "bta": 0.5}}) == ["objective"]
    assert wrong(part | {"objective": {"name": "nft"}}) == []
    assert wrong(part | {"stages": [{"epochs": 1, "data": {"group_size": 2}}]}) == []
    assert wrong(part | {"stages": [{"data": {"group_size": 2}}]}) == ["stages.0"]


class Inner(Solver):
    """Does nothing."""

    integrate = never_called
    num_evals = never_called


@dataclass(frozen=True)
class Pair:
    """Two of them."""

    first: Solver
    required: bool = False


class Outer(Solver):
    """A solver of solvers."""

    def __init__(self, *, pair: Pair, slot: Annotated[int, Ge(1)] = 1):
        """`slot` is a word that JSON schemas use too."""

    integrate = never_called
    num_evals = never_called


class Flow(Sampler):
    """Samples."""

    def __init__(self, *, solver: Solver):
        """Takes one solver."""

    sample = never_called
    grid = never_called


class Broken(Reward):
    """Takes what no recipe can name."""

    def __init__(self, *options: int):
        """Cannot be."""

    score = never_called


def test_plugins_are_in_it_with_solvers_of_solvers_and_broken_ones_left_out(register):
    register("samplers", "flow", Flow)
    register("solvers", "inner", Inner)
    register("solvers", "outer", Outer, package="zoo-one")
    register("solvers", "outer", Outer, package="zoo-two")
    register("rewards", "broken", Broken)
    schema = recipe_schema()
    validator = Draft7Validator(schema)

    def messages(solver):
        recipe = {"extends": "x", "sampler": {"name": "flow", "solver": solver}}
        return [error.message for error in validator.iter_errors(recipe)]

    inner = {"name": "inner"}
    outer = {"name": "zoo-one:outer", "pair": {"first": inner, "required": True}, "slot": 2}
    assert messages(outer) == []
    assert messages({**outer, "pair": {"first": outer}}) == []
    (said,) = messages({**outer, "slot": 0})
    assert "minimum" in said
    assert messages({**outer, "pair": {"first": {**inner, "more": 1}}})
    # Two packages claim the short name: it says neither.
    assert messages({**outer, "name": "outer"})
    text = json.dumps(schema)
    assert "A solver of solvers.\\n\\n`slot` is a word" in text
    assert "broken" not in text
