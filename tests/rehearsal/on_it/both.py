"""A run on the CPU and the same on the pretend accelerator: their numbers must be equal."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import zoo.training.collect
import zoo.training.epoch
import zoo.training.learn
from tests.rehearsal import streams
from tests.rehearsal.traffic import traffic
from tests.runs import without_clocks
from tests.train_here import train_here
from zoo.engine.plain import PlainEngine
from zoo.recipe.recipe import Recipe, load_recipe
from zoo.sampler.flow_sampler import FlowSampler

SHORT = {
    "epochs": 1,
    "data__groups_per_epoch": 2,
    "data__group_size": 4,
    "sampler__steps": 3,
    "optim__updates_per_epoch": 1,
    "optim__ema": "{cap: 0.9}",
    "engine__micro_batch": "{sample: 4, train: 8}",
    "eval__every": 1,
    "eval__images_per_prompt": 1,
    "eval__steps": 2,
    "scoring__retries": 0,
}
"""Changes that make a run of a digits recipe an epoch of a second, with all that moves."""

ROOMS = {
    "sampling": (FlowSampler, "sample"),
    "generating": (zoo.training.collect, "generate"),
    "collecting": (zoo.training.epoch, "collect"),
    "looking ahead": (zoo.training.learn, "_look_ahead"),
    "training": (zoo.training.learn, "_backward"),
    "gradient": (PlainEngine, "backward"),
}
"""The phases of a run, by the function that each is."""


def enter_phases() -> None:
    """From now on traffic is counted by phase."""
    for phase, (place, name) in ROOMS.items():
        setattr(place, name, traffic.within(phase, getattr(place, name)))


@dataclass(frozen=True)
class Rehearsed:
    """The metrics of both runs, but for times, and the folder of the one on the device."""

    cpu: list[dict]
    sim: list[dict]
    folder: Path


def rehearse(
    path: Path, tmp_path: Path, *, tiny: bool = False, rounding: float = 0.0, **changes: object
) -> Rehearsed:
    """Trains a recipe with changes on both, and requires the same numbers.

    `rounding` is how much they may differ, as a part of themselves.
    """
    expected = train_here(made(path, "cpu", tiny=tiny, **changes), tmp_path / "cpu")
    traffic.clear()
    found = train_here(made(path, "auto", tiny=tiny, **changes), tmp_path / "sim")
    traffic.settle()
    streams.require_order()
    runs = Rehearsed(without_clocks(expected), without_clocks(found), tmp_path / "sim")
    assert len(runs.sim) == len(runs.cpu)
    for mine, wanted in zip(runs.sim, runs.cpu, strict=True):
        assert mine.keys() == wanted.keys()
        wrong = [key for key in wanted if not _are_equal(mine[key], wanted[key], rounding)]
        assert {key: mine[key] for key in wrong} == {key: wanted[key] for key in wrong}
    require_used()
    return runs


def _are_equal(found: object, wanted: object, rounding: float) -> bool:
    if not rounding or not isinstance(wanted, float):
        return found == wanted
    return found == pytest.approx(wanted, rel=rounding, abs=rounding / 10)


def require_used() -> None:
    """What was counted is of a device that was used, and drew no random numbers."""
    assert traffic.number("to sim") + traffic.number("unwaited") > 0, "nothing ran on the device"
    assert traffic.number("random") == 0


def made(path: Path, device: str, *, tiny: bool = False, **changes: object) -> Recipe:
    """The recipe with changes, in whose names `__` stands for a dot; `auto` is the accelerator."""
    changes = {"engine.device": device, **changes}
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return load_recipe(path, overrides, tiny=tiny)
