from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from annotated_types import Ge

from tests.recipe.fakes import never_called
from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.recipe.errors import FileOrigin, OptionOrigin
from zoo.recipe.recipe import RecipeError, load_recipe, recipe_from
from zoo.reward.base import Reward
from zoo.sampler.base import Sampler, Solver, StochasticSolver

RECIPE = """\
name: fake
epochs: 3
policy: {name: fake}
sampler: {solver: {name: euler}, steps: 4}
rewards:
  - {name: fake}
  - {name: fake, label: again, weight: -2, size: 4}
objective: {name: plain}
data: {train: prompts.txt, groups_per_epoch: 4, group_size: 2}
"""


class Euler(Solver):
    integrate = never_called

    def num_evals(self, num_steps):
        return num_steps


class Noisy(StochasticSolver):
    def __init__(self, *, noise: float = 0.7):
        if noise > 5:
            raise ValueError(f"noise {noise} drowns the image; use 5 or less")

    transition = never_called


class FakePolicy(Policy):
    def __init__(self, device: torch.device, /, *, dtype: Literal["f4", "bf"] = "f4"):
        self.device = device

    encode = velocity = decode = latents = grid = never_called


class Flow(Sampler):
    def __init__(self, *, solver: Solver, steps: Annotated[int, Ge(1)], guidance: float = 1.0):
        pass

    sample = grid = never_called


class Dataset(Flow):
    def __init__(self, *, path: str):
        pass


class FakeReward(Reward):
    def __init__(self, *, size: int = 3):
        pass

    score = never_called


class Plain(Objective):
    rows = loss = never_called


class OnPath(Plain):
    needs_path = True


class WithSolver(Plain):
    trains_guided = True

    def __init__(self, solver: StochasticSolver, /):
        pass


FAKES = (
    ("policies", "fake", FakePolicy),
    ("samplers", "flow", Flow),
    ("solvers", "euler", Euler),
    ("rewards", "fake", FakeReward),
    ("objectives", "plain", Plain),
)


@pytest.fixture(autouse=True)
def recipe_file(register, tmp_path, monkeypatch):
    for kind, name, cls in [
        *FAKES,
        ("samplers", "dataset", Dataset),
        ("solvers", "noisy", Noisy),
        ("objectives", "on_path", OnPath),
        ("objectives", "with_solver", WithSolver),
    ]:
        register(kind, name, cls)
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)


def refusal(*overrides):
    with pytest.raises(RecipeError) as raised:
        load_recipe("r.yaml", overrides)
    assert len(raised.value.lines) == 1, raised.value.lines
    return str(raised.value)


def test_a_recipe_has_its_values_defaults_and_origins():
    recipe = load_recipe("r.yaml", ["optim.lr=1e-4"], epochs=7)
    assert (recipe.name, recipe.seed, recipe.epochs) == ("fake", 42, 7)
    assert recipe.optim.lr == 1e-4
    assert recipe.optim.betas == (0.9, 0.999)
    assert recipe.engine.micro_batch.sizes == (16, 8)
    assert recipe.eval is None
    assert recipe.sampler.name == "flow"
    assert [(reward.label, reward.weight) for reward in recipe.rewards] == [
        ("fake", 1.0),
        ("again", -2.0),
    ]
    assert recipe.rewards[1].options == {"size": 4}
    assert isinstance(recipe.rewards[1].build({}), FakeReward)
    assert recipe.origin(("rewards", 1, "weight")) == FileOrigin("r.yaml", 7)
    assert str(recipe.origin(("rewards", 1, "weight"))) == "r.yaml:7"
    assert recipe.origin(("epochs",)) == OptionOrigin("-s epochs=7")
    assert str(recipe.origin(("epochs",))) == "-s epochs=7"
    assert recipe.policy.build({"device": "cpu", "dtype": None}).device == "cpu"


def test_a_component_that_cannot_be_built_is_named_with_its_line_in_the_recipe():
    noisy = "sampler: {name: flow, steps: 2,\n  solver: {name: noisy, noise: 9}}"
    Path("r.yaml").write_text(RECIPE.replace("sampler: {solver: {name: euler}, steps: 4}", noisy))
    recipe = load_recipe("r.yaml")
    with pytest.raises(RecipeError) as raised:
        recipe.build(recipe.sampler, {})
    assert str(raised.value) == (
        "r.yaml:5: sampler.solver: 'noisy' refuses its options: "
        "noise 9.0 drowns the image; use 5 or less"
    )
    assert isinstance(raised.value.__cause__, ValueError)


def test_only_what_an_option_of_the_command_says_itself_is_on_the_command_line():
    recipe = load_recipe("r.yaml", ["optim.lr=1e-4"])
    assert recipe.origin(("optim", "lr")).on_command_line
    assert recipe.origins.on_command_line(("optim", "lr"))
    assert recipe.origin(("optim", "lr", "below")).on_command_line
    assert not recipe.origins.on_command_line(("optim", "lr", "below"))
    assert not recipe.origin(("rewards", 1)).on_command_line


def test_a_resolved_recipe_reads_back_equal():
    recipe = load_recipe("r.yaml", ["eval={}", "optim.ema={}"])
    resolved = recipe.resolved()
    assert resolved["eval"]["solver"] == {"name": "euler"}
    assert resolved["optim"]["ema"] == {"cap": 0.9}
    assert resolved["sampler"] == {
        "name": "flow",
        "solver": {"name": "euler"},
        "steps": 4,
        "guidance": 1.0,
    }
    assert recipe_from(resolved) == recipe
    assert recipe_from({**resolved, "seed": 1}) != recipe


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("r.yaml").seed = 3


def test_errors_of_data_name_its_source():
    with pytest.raises(RecipeError, match=r"^runs/x/recipe.json: the recipe needs 'name': text"):
        recipe_from({}, source="runs/x/recipe.json")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("name=a/b", "name: 'a/b' cannot name a run's folder; use up to 100 letters"),
        ("rewards=[]", "rewards must be a list of rewards at least 1 long, not []"),
        ("rewards.0.weight=0", "rewards.0.weight: a reward of weight 0 trains nothing; remove it"),
        ("rewards.0.weight=.inf", "rewards.0.weight must be a finite number, not .inf"),
        (
            "rewards.0.sizes=1",
            "unknown key 'rewards.0.sizes'; did you mean 'size'? allowed: name, ",
        ),
        ("rewards.0=fake", "rewards.0 must be a mapping that names a reward, such as {name: ...}"),
        ("engine.processes=0", "engine.processes must be a whole number >= 1 or 'auto', not 0"),
        ("scoring.max_invalid=2", "scoring.max_invalid must be a number >= 0 and <= 1, not 2"),
        ("eval.solver.name=eulr", "unknown solver 'eulr'; did you mean 'euler'?"),
        ("stage=[]", "unknown key 'stage'; did you mean 'stages'?"),
        ("optim.lr='1'", "optim.lr must be a number > 0, not '1'; remove the quotes"),
        ("data.train=''", "data.train must be text at least 1 long or a list of items, each a"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(override, said):
    assert refusal(override).startswith(f"-s {override}: {said}")


def test_a_sampler_that_is_left_out_is_flow_and_says_what_it_needs():
    data = {**load_recipe("r.yaml").resolved()}
    del data["sampler"]
    with pytest.raises(RecipeError) as raised:
        recipe_from(data)
    assert raised.value.lines == (
        "recipe: sampler needs 'solver': a mapping that names a solver",
        "recipe: sampler needs 'steps': a whole number >= 1",
    )


@pytest.mark.parametrize("name", ["on_path", "with_solver"])
def test_a_path_needs_a_stochastic_solver(name):
    assert refusal(f"objective.name={name}") == (
        f"r.yaml:4: the objective '{name}' needs a StochasticSolver, and sampler.solver is "
        "'euler', which is not one; write sampler.solver: {name: noisy}"
    )
    load_recipe("r.yaml", [f"objective.name={name}", "sampler.solver.name=noisy"])


def test_a_path_needs_a_sampler_with_a_solver():
    said = refusal("objective.name=on_path", "sampler={name: dataset, path: x}")
    assert "the sampler 'dataset' has no solver; write sampler: {name: flow" in said


def test_guidance_needs_an_objective_that_trains_with_it():
    assert refusal("sampler.guidance=4.5") == (
        "-s sampler.guidance=4.5: sampler.guidance is 4.5 and the objective 'plain' trains "
        "without guidance; write sampler.guidance: 1.0 (evaluation has eval.guidance)"
    )
    guided = ["sampler.guidance=4.5", "sampler.solver.name=noisy", "objective.name=with_solver"]
    load_recipe("r.yaml", guided)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "advantage={mix: gdpo, std: group}",
            "advantage.mix gdpo divides by each group's deviation",
        ),
        ("data.group_size=1", "data.group_size is 1, and an advantage compares the images"),
        ("engine.processes=5", "engine.processes is 5 and data.groups_per_epoch is 4: a group"),
        ("optim.updates_per_epoch=9", "optim.updates_per_epoch is 9 and an epoch has 8 images"),
        ("rewards=[{name: fake}, {name: fake}]", "2 rewards in rewards are called 'fake', which"),
        (
            "eval.rewards=[{name: fake}, {name: fake}]",
            "2 rewards in eval.rewards are called 'fake'",
        ),
        ("stop_when.drift=0.5", "stop_when.drift is seen in evaluations, and there are none"),
        ("stop_when.falling=2", "stop_when.falling is seen in evaluations, and there are none"),
    ],
)
def test_parts_that_do_not_fit_are_refused(override, said):
    assert refusal(override).startswith(f"-s {override}: {said}")


@pytest.mark.parametrize(
    "override",
    [
        "advantage={mix: gdpo, std: global}",
        "engine.processes=auto",
        "engine.processes=4",
        "optim.updates_per_epoch=8",
        "eval.rewards=[{name: fake}]",
        "stop_when={seconds: 60, forwards: 1000, images: 8}",
    ],
)
def test_parts_that_fit_are_accepted(override):
    load_recipe("r.yaml", [override])


def test_a_target_is_a_score_of_the_evaluation():
    evaluated = "eval={rewards: [{name: fake, label: good}]}"
    target = "stop_when.target={{label: {}, at_least: 0.5}}"
    for label in ("good", "good/part"):
        load_recipe("r.yaml", [evaluated, target.format(label)])
    assert refusal(evaluated, target.format("god")).startswith(
        "-s stop_when.target={label: god, at_least: 0.5}: stop_when.target.label is 'god', which "
        "evaluations do not score; did you mean 'good'? scored: good; add it to eval.rewards"
    )


def test_every_misfit_has_its_line():
    with pytest.raises(RecipeError) as raised:
        load_recipe("r.yaml", ["data.group_size=1", "engine.processes=5"])
    assert len(raised.value.lines) == 2
