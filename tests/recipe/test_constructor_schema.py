from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Lt, MinLen

from tests.recipe.fakes import never_called
from zoo.recipe.component import Component, Strict, components
from zoo.recipe.constructor_schema import Slot, component_class, options_model
from zoo.recipe.describe import describe
from zoo.recipe.errors import Origins, RecipeError, RefusedOptionsError
from zoo.recipe.explain import validate
from zoo.recipe.load import read
from zoo.recipe.signature import signature
from zoo.registry import BrokenPluginError
from zoo.reward.base import Reward
from zoo.sampler.base import Sampler, Solver, StochasticSolver


class Euler(Solver):
    integrate = never_called

    def num_evals(self, num_steps):
        return num_steps


class Noisy(StochasticSolver):
    def __init__(self, *, noise: Annotated[float, Gt(0)] = 0.7):
        if noise > 5:
            raise ValueError(f"noise {noise} drowns the image; use 5 or less")
        self.noise = noise

    transition = never_called


@dataclass(frozen=True)
class Schedule:
    rate: Annotated[float, Gt(0), Lt(1)] = 0.1
    flat: int = 0

    def __post_init__(self):
        if self.flat == 13:
            raise ValueError("flat 13 brings bad luck; use another")


@dataclass(frozen=True)
class Pair:
    first: Solver
    second: Solver


class Flow(Sampler):
    """Samples."""

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        solver: Solver,
        steps: Annotated[int, Ge(1)],
        noise: StochasticSolver | None = None,
        more: list[Solver] = [],  # noqa: B006
        some: Sequence[Annotated[int, Ge(0)]] = (),
        folder: Path = Path("data"),
        betas: tuple[float, float] = (0.9, 0.999),
        mode: Literal["a", "b"] = "a",
        schedule: Schedule = Schedule(rate=0.5),
        maybe: Schedule | None = None,
        pair: Pair | None = None,
        either: int | Literal["auto"] = "auto",
        table: dict[str, float] = {},  # noqa: B006
        schema: bool = False,
        texts: Annotated[tuple[str, ...], MinLen(1)] = ("x",),
    ):
        self.__dict__ |= {key: value for key, value in locals().items() if key != "self"}

    sample = grid = never_called


class Part(Strict):
    sampler: Annotated[Component[Sampler], Slot(Sampler, "flow")]


@pytest.fixture(autouse=True)
def installed(register):
    register("samplers", "flow", Flow)
    register("solvers", "euler", Euler)
    register("solvers", "noisy", Noisy)


def part(**options):
    origins = Origins("r.yaml")
    data = {"sampler": {"solver": {"name": "euler"}, "steps": 2, **options}}
    return validate(Part, data, origins).sampler


def refusal(**options):
    with pytest.raises(RecipeError) as raised:
        part(**options)
    assert len(raised.value.lines) == 1
    return str(raised.value)


def test_options_are_rebuilt_as_their_annotations_say():
    built = part(
        noise={"name": "noisy", "noise": 2},
        more=[{"name": "euler"}, {"name": "noisy"}],
        some=[1, 2],
        folder="here",
        betas=[0, 1],
        maybe={"flat": 3},
        pair={"first": {"name": "euler"}, "second": {"name": "noisy", "noise": 3.0}},
        either=7,
        table={"a": 1.5},
        schema=True,
    ).build({"device": torch.device("cpu"), "cache": None})
    assert isinstance(built.solver, Euler)
    assert built.device == torch.device("cpu")
    assert built.noise.noise == 2
    assert [type(solver) for solver in built.more] == [Euler, Noisy]
    assert list(built.some) == [1, 2]
    assert built.folder == Path("here")
    assert built.betas == (0.0, 1.0)
    assert built.maybe == Schedule(flat=3)
    assert built.pair.second.noise == 3
    assert (built.either, built.table, built.schema) == (7, {"a": 1.5}, True)


def test_keys_left_out_of_a_mapping_have_the_options_own_default():
    assert part(schedule={"flat": 2}).build({"device": torch.device("cpu")}).schedule == Schedule(
        rate=0.5, flat=2
    )
    assert part().build({"device": torch.device("cpu")}).schedule == Schedule(rate=0.5)


def test_a_dump_has_every_default_and_reads_back_equal():
    component = part(schedule={"flat": 2}, noise={"name": "noisy"})
    dump = component.dump()
    assert dump["name"] == "flow"
    assert dump["noise"] == {"name": "noisy", "noise": 0.7}
    assert dump["schedule"] == {"rate": 0.5, "flat": 2}
    assert dump["folder"] == "data"
    assert part(**dump) == component
    assert part(steps=3) != part()


def test_components_are_walked_with_their_locations():
    found = dict(components(part(more=[{"name": "noisy"}])))
    assert {loc: component.name for loc, component in found.items()} == {
        (): "flow",
        ("solver",): "euler",
        ("more", 0): "noisy",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "sampler.steps must be a whole number >= 1, not 0"),
        ({"steps": "3"}, "sampler.steps must be a whole number >= 1, not '3'; remove the quotes"),
        ({"steps": 2.0}, "sampler.steps must be a whole number >= 1, not 2.0"),
        ({"steps": True}, "sampler.steps must be a whole number >= 1, not true"),
        ({"schema": "yes"}, "sampler.schema must be true or false, not 'yes'; write true or false"),
        ({"mode": "c"}, "sampler.mode must be 'a' or 'b', not 'c'"),
        ({"mode": None}, "sampler.mode must be 'a' or 'b', not null; leave the key out"),
        ({"betas": [1]}, "sampler.betas must be a list of 2 numbers, not [1]"),
        ({"betas": 1}, "sampler.betas must be a list of 2 numbers, not 1"),
        ({"some": [1, -1]}, "sampler.some.1 must be a whole number >= 0, not -1"),
        ({"either": 1.5}, "sampler.either must be a whole number or 'auto', not 1.5"),
        ({"texts": []}, "sampler.texts must be a list of texts at least 1 long, not []"),
        ({"table": {"a": "x"}}, "sampler.table.a must be a number, not 'x'"),
        ({"schedule": {"rate": 1}}, "sampler.schedule.rate must be a number > 0 and < 1, not 1"),
        ({"schedule": 3}, "sampler.schedule must be a mapping of rate, flat, not 3"),
        ({"maybe": {"rate": float("nan")}}, "sampler.maybe.rate must be a finite number, not .nan"),
        ({"schedule": {"flat": 13}}, "sampler.schedule: flat 13 brings bad luck"),
        (
            {"pair": {"first": {"name": "euler"}}},
            "sampler.pair needs 'second': a mapping that names",
        ),
        (
            {"solver": "euler"},
            "sampler.solver must be a mapping that names a solver, such as {name",
        ),
        (
            {"solver": {}},
            "sampler.solver needs the name of a solver, which is missing: {name: ...}",
        ),
        ({"solver": {"name": 3}}, "sampler.solver needs the name of a solver, not 3: {name: ...}"),
        ({"solver": {"name": "eulr"}}, "unknown solver 'eulr'; did you mean 'euler'? installed: "),
        ({"noise": {"name": "euler"}}, "sampler.noise.name 'euler' is not a StochasticSolver; "),
        ({"more": [{"name": "noisy", "noise": -1}]}, "sampler.more.0.noise must be a number > 0,"),
        ({"modes": 1}, "unknown key 'sampler.modes'; did you mean 'mode'? allowed: name, solver, "),
        (
            {"solver": {"name": "noisy", "noize": 1}},
            "unknown key 'sampler.solver.noize'; did you mean 'noise'? allowed: name, noise",
        ),
    ],
)
def test_a_wrong_value_says_what_is_allowed(options, said):
    line = refusal(**options)
    assert line.startswith(f"r.yaml: {said}")
    assert "pydantic" not in line


def test_several_mistakes_have_a_line_each_with_their_origins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(
        "sampler:\n  solver: {name: euler}\n  steps: 0\n  schedule:\n    rat: 1\n"
    )
    raw = read("r.yaml", ["sampler.mode=c"])
    with pytest.raises(RecipeError) as raised:
        validate(Part, raw.data, raw.origins)
    assert raised.value.lines == (
        "r.yaml:3: sampler.steps must be a whole number >= 1, not 0",
        "-s sampler.mode=c: sampler.mode must be 'a' or 'b', not 'c'",
        "r.yaml:5: unknown key 'sampler.schedule.rat'; did you mean 'rate'? allowed: rate, flat",
    )


def test_a_constructor_that_refuses_its_options_says_where_it_is_in_the_component():
    component = part(noise={"name": "noisy", "noise": 9})
    with pytest.raises(RefusedOptionsError) as raised:
        component.build({"device": torch.device("cpu")})
    assert raised.value.loc == ("noise",)
    assert str(raised.value) == (
        "'noisy' refuses its options: noise 9.0 drowns the image; use 5 or less"
    )
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_constructor_gets_only_what_the_run_has():
    with pytest.raises(BrokenPluginError, match=r"Flow asks for 'device', .* given here: cache"):
        part().build({"cache": None})


class Scorer(Reward):
    score = never_called


class Plain(Scorer):
    def __init__(self, size: int = 3):
        pass


class Open(Scorer):
    def __init__(self, **options: Any):
        pass


class Unknown(Scorer):
    def __init__(self, gpu: int, /):
        pass


class Untyped(Scorer):
    def __init__(self, *, size=3):
        pass


class Reserved(Scorer):
    def __init__(self, *, weight: float = 1.0):
        pass


class Unwritable(Scorer):
    def __init__(self, *, dtype: torch.dtype = torch.float32):
        pass


class Unreadable(Scorer):
    def __init__(self, *, size: "Missing" = 3):  # noqa: F821
        pass


class WrongDefault(Scorer):
    def __init__(self, *, size: int = None):  # noqa: RUF013
        pass


class Default(Scorer):
    def __init__(self, *, solver: Solver = Euler()):  # noqa: B008
        pass


@dataclass
class Thawed:
    size: int = 3


class Mutable(Scorer):
    def __init__(self, *, thawed: Thawed = Thawed()):  # noqa: B008
        pass


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (
            Plain,
            r"takes 'size: int = 3'; options are keyword-only .* write def __init__\(self, dev",
        ),
        (Open, r"takes '\*\*options: Any'; options are keyword-only"),
        (Unknown, "asks for 'gpu'; a run gives solver, device, dtype, cache"),
        (Untyped, "has an option 'size' without a type; annotate it"),
        (Reserved, "has an option 'weight', which is reserved; rename it"),
        (Unwritable, r"option 'dtype' of a type that a recipe cannot write \(torch.dtype\); use"),
        (Unreadable, "annotations of .*Unreadable cannot be read: name 'Missing' is not defined"),
        (WrongDefault, "option 'size' whose default None is not of its own type"),
        (Default, "has a component as the default of 'solver'"),
        (Mutable, r"Thawed is an option's type and not frozen; write @dataclass\(frozen=True\)"),
    ],
)
def test_a_constructor_that_is_not_a_schema_is_refused(cls, said):
    with pytest.raises(BrokenPluginError, match=said):
        options_model(cls)


def test_a_class_without_a_constructor_has_no_options():
    assert signature(Euler).options == {}
    assert describe(Euler) == []


def test_a_dataclass_can_be_a_component():
    @dataclass(frozen=True, kw_only=True)
    class Sharp(Scorer):
        size: Annotated[int, Ge(1)] = 3

    assert [option.name for option in describe(Sharp)] == ["size"]


def test_a_component_must_implement_the_interface_of_its_kind(register):
    register("rewards", "wrong", Euler)
    with pytest.raises(
        BrokenPluginError, match=r"Euler, which is not a subclass of zoo.reward.base"
    ):
        component_class("rewards", "wrong")


def test_describe_says_types_defaults_and_constraints():
    said = {option.name: option[1:] for option in describe(Flow)}
    assert said["solver"] == ("a mapping that names a solver", "required", "")
    assert said["steps"] == ("a whole number", "required", ">= 1")
    assert said["noise"] == ("a mapping that names a solver or null", "null", "")
    assert said["more"] == ("a list of solvers", "[]", "")
    assert said["some"] == ("a list of whole numbers >= 0", "[]", "")
    assert said["folder"] == ("a path", "'data'", "")
    assert said["betas"] == ("a list of 2 numbers", "[0.9, 0.999]", "")
    assert said["schedule.rate"] == ("a number", "0.5", "> 0 and < 1")
    assert said["maybe.rate"] == ("a number", "0.1", "> 0 and < 1")
    assert said["pair.first"] == ("a mapping that names a solver", "required", "")
