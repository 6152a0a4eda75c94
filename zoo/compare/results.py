"""What a suite's runs come to, side by side: the numbers of a comparison's report."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from zoo.compare import statistics as bootstrap
from zoo.compare.statistics import Band, Interval, band, crossing
from zoo.run.record import RunRecord
from zoo.storage.files import or_nan

AXES: Mapping[str, str] = {
    "seconds": "seconds",
    "forwards": "num_evals",
    "images": "num_images",
    "steps": "step",
}
"""What scores are shown against, and the metric that counts it: all are 0 before any update."""

_OF_AN_EVALUATION = ("eval/", "eval_error/", "monitor/")


@dataclass(frozen=True)
class Target:
    """A score to be reached: of `eval/<label>`."""

    label: str
    at_least: float


@dataclass(frozen=True)
class Failed:
    """A run that has no result: why, in a line, and the file with all that it said."""

    seed: int
    why: str
    log: str


@dataclass(frozen=True)
class Contender:
    """What is compared: its runs by seed; `written` is what the suite writes of it."""

    name: str
    written: Mapping[str, Any]
    runs: Mapping[int, RunRecord]
    failed: tuple[Failed, ...] = ()

    def trains(self, label: str) -> bool:
        """Whether a run of it trains on an evaluated reward."""
        return any(run.rewards.get(label, False) for run in self.runs.values())


@dataclass(frozen=True)
class Contest:
    """A suite that has been run: its name, the budget (`{forwards: 60000}`), and the contenders.

    `command` makes it again; the first contender is the one that ratios are to.
    """

    name: str
    about: str
    budget: Mapping[str, float]
    seeds: tuple[int, ...]
    contenders: tuple[Contender, ...]
    targets: tuple[Target, ...]
    command: str

    @property
    def labels(self) -> list[str]:
        """Of evaluated rewards: those first that no contender trains on."""
        runs = [run for each in self.contenders for run in each.runs.values()]
        found = dict.fromkeys(label for run in runs for label in run.rewards)
        return sorted(found, key=lambda label: any(each.trains(label) for each in self.contenders))


def finals(contender: Contender, key: str) -> dict[int, float]:
    """A metric where it was last recorded, by seed; NaN where it never was."""
    return {seed: _last(run, key) for seed, run in contender.runs.items()}


def final(contender: Contender, key: str) -> Interval:
    """The mean over seeds of a metric where it was last recorded."""
    return bootstrap.mean(list(finals(contender, key).values()))


def curves(contender: Contender, key: str, axis: str) -> dict[int, list[tuple[float, float]]]:
    """A metric against an axis, by seed; without what is not finite."""
    found = {seed: _points(run, key, AXES[axis]) for seed, run in contender.runs.items()}
    return {seed: points for seed, points in found.items() if points}


def over_seeds(contender: Contender, key: str, axis: str) -> Band:
    """The curves as one: their mean and range."""
    found = list(curves(contender, key, axis).values())
    return band(found) if found else Band()


def costs(contender: Contender, target: Target, axis: str) -> dict[int, float]:
    """What each seed took to a target; infinity where it did not get there."""
    key = f"eval/{target.label}"
    return {
        seed: crossing(_points(run, key, AXES[axis]), target.at_least)
        for seed, run in contender.runs.items()
    }


def cost(contender: Contender, target: Target, axis: str) -> Interval:
    """The median over seeds of what a target took."""
    return bootstrap.median(list(costs(contender, target, axis).values()))


def cost_ratio(contender: Contender, to: Contender, target: Target, axis: str) -> Interval:
    """How much more a target took than another contender: the ratio of medians."""
    mine, theirs = (list(costs(each, target, axis).values()) for each in (contender, to))
    return bootstrap.ratio(mine, theirs)


def as_json(contest: Contest) -> dict[str, Any]:
    """All numbers of a comparison as JSON can hold them; what is not finite becomes null there."""
    return {
        "name": contest.name,
        "about": contest.about,
        "command": contest.command,
        "budget": dict(contest.budget),
        "seeds": list(contest.seeds),
        "interval": bootstrap.LEVEL,
        "contenders": {each.name: _contender(contest, each) for each in contest.contenders},
    }


def _contender(contest: Contest, contender: Contender) -> dict[str, Any]:
    recorded = [key for run in contender.runs.values() for line in run.metrics for key in line]
    keys = [key for key in dict.fromkeys(recorded) if key.startswith(_OF_AN_EVALUATION)]
    keys += ["epoch", *AXES.values(), "peak_memory_gb"]
    return {
        "written": dict(contender.written),
        "trained": [label for label in contest.labels if contender.trains(label)],
        "final": {key: asdict(final(contender, key)) for key in keys},
        "targets": [_target(contest, contender, target) for target in contest.targets],
        "runs": {str(seed): _run(run, keys) for seed, run in sorted(contender.runs.items())},
        "failed": [asdict(each) for each in contender.failed],
    }


def _target(contest: Contest, contender: Contender, target: Target) -> dict[str, Any]:
    first = contest.contenders[0]
    found: dict[str, Any] = asdict(target)
    for axis in AXES:
        found[axis] = {
            "median": asdict(cost(contender, target, axis)),
            "ratio_to_first": asdict(cost_ratio(contender, first, target, axis)),
            "by_seed": {str(k): v for k, v in costs(contender, target, axis).items()},
        }
    return found


def _run(run: RunRecord, keys: list[str]) -> dict[str, Any]:
    return {
        "end": None if run.end is None else asdict(run.end),
        "warnings": list(run.warnings),
        "evaluations": [{key: line.get(key) for key in keys} for line in run.evaluated],
        "environment": dict(run.environment),
    }


def _points(run: RunRecord, key: str, axis: str) -> list[tuple[float, float]]:
    found = [(or_nan(line.get(axis)), or_nan(line.get(key))) for line in run.metrics]
    return [(x, y) for x, y in found if math.isfinite(x) and math.isfinite(y)]


def _last(run: RunRecord, key: str) -> float:
    found = [line[key] for line in run.metrics if key in line]
    return or_nan(found[-1]) if found else math.nan
