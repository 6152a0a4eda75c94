"""What a suite's runs come to, side by side: the numbers of a comparison's report."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from zoo.compare import over_prompts, statistics
from zoo.compare.statistics import Band, Interval, band, crossing, value_at
from zoo.recipe.sections import ScoreTarget
from zoo.run.record import RunRecord
from zoo.storage.files import or_nan

AXES: Mapping[str, str] = {
    "seconds": "seconds",
    "forwards": "num_evals",
    "images": "num_images",
    "steps": "step",
}
"""What scores are shown against, and the metric that counts it: all are 0 before any update."""

_OF_AN_EVALUATION = ("eval/", "eval_error/", "monitor/", "monitor_std/")


@dataclass(frozen=True)
class FailedRun:
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
    failed: tuple[FailedRun, ...] = ()

    def trains(self, label: str) -> bool:
        """Whether a run of it trains on an evaluated reward, which may be `reward/what_it_says`."""
        reward = label.partition("/")[0]
        return any(run.rewards.get(reward, False) for run in self.runs.values())


@dataclass(frozen=True)
class Comparison:
    """A suite that has been run: its name, the budget (`{forwards: 60000}`), and the contenders.

    `command` makes it again; the first contender is the one that ratios are to. A target is of
    `eval/<label>`; `geneval/mean_of_tags` is a label too.
    """

    name: str
    about: str
    budget: Mapping[str, float]
    seeds: tuple[int, ...]
    contenders: tuple[Contender, ...]
    targets: tuple[ScoreTarget, ...]
    command: str

    @property
    def labels(self) -> list[str]:
        """Of targets and of evaluated rewards: those first that no contender trains on."""
        runs = [run for contender in self.contenders for run in contender.runs.values()]
        every = (
            *(target.label for target in self.targets),
            *(x for run in runs for x in run.rewards),
        )
        labels = dict.fromkeys(every if runs else ())
        return sorted(labels, key=self._has_trained)

    def _has_trained(self, label: str) -> bool:
        return any(contender.trains(label) for contender in self.contenders)


def finals(contender: Contender, key: str) -> dict[int, float]:
    """A metric where it was last recorded, by seed; NaN where it never was."""
    return {seed: _last(run, key) for seed, run in contender.runs.items()}


def final_keys(contender: Contender) -> set[str]:
    """The scores that its evaluations have."""
    lines = [line for run in contender.runs.values() for line in run.evaluated]
    return {key for line in lines for key in line if key.startswith("eval/")}


def final(contender: Contender, key: str) -> Interval:
    """The mean over seeds of a metric where it was last recorded."""
    return statistics.mean(list(finals(contender, key).values()))


def final_over_prompts(contender: Contender, label: str) -> Interval:
    """The mean over seeds of a label's last score, with its interval over seeds and prompts."""
    return over_prompts.final_over_prompts(list(contender.runs.values()), label)


def difference_over_prompts(contender: Contender, other: Contender, label: str) -> Interval:
    """How far it ends above another by the seeds that both have, over seeds and prompts."""
    both = [seed for seed in contender.runs if seed in other.runs]
    pairs = [(contender.runs[seed], other.runs[seed]) for seed in both]
    return over_prompts.difference_over_prompts(pairs, label)


def differences(contender: Contender, other: Contender, key: str) -> dict[int, float]:
    """How far a metric ends above another contender's, by each seed that both have."""
    mine, theirs = finals(contender, key), finals(other, key)
    found = {seed: mine[seed] - theirs[seed] for seed in mine if seed in theirs}
    return {seed: value for seed, value in found.items() if math.isfinite(value)}


def curves(contender: Contender, key: str, axis: str) -> dict[int, list[tuple[float, float]]]:
    """A metric against an axis, by seed; without what is not finite."""
    by_seed = {seed: _points(run, key, AXES[axis]) for seed, run in contender.runs.items()}
    return {seed: points for seed, points in by_seed.items() if points}


def over_seeds(contender: Contender, key: str, axis: str) -> Band:
    """The curves as one: their mean and range."""
    lines = list(curves(contender, key, axis).values())
    return band(lines) if lines else Band()


def costs(contender: Contender, target: ScoreTarget, axis: str) -> dict[int, float]:
    """What each seed took to a target; infinity where it did not get there."""
    key = f"eval/{target.label}"
    return {
        seed: crossing(_points(run, key, AXES[axis]), target.at_least)
        for seed, run in contender.runs.items()
    }


def cost(contender: Contender, target: ScoreTarget, axis: str) -> Interval:
    """The median over seeds of what a target took."""
    return statistics.median(list(costs(contender, target, axis).values()))


def cost_ratio(contender: Contender, to: Contender, target: ScoreTarget, axis: str) -> Interval:
    """How much more a target took than another contender: the ratio of medians."""
    mine, theirs = (list(costs(contender, target, axis).values()) for contender in (contender, to))
    return statistics.ratio(mine, theirs)


def equal_cost(comparison: Comparison, key: str, axis: str) -> float:
    """The most of an axis that all runs with a curve of the metric were evaluated at; or NaN."""
    lines = [line for each in comparison.contenders for line in curves(each, key, axis).values()]
    return min((line[-1][0] for line in lines), default=math.nan)


def at_cost(contender: Contender, key: str, axis: str, spent: float) -> Interval:
    """The mean over seeds of a metric where so much was spent, between evaluations on a line."""
    lines = curves(contender, key, axis).values()
    return statistics.mean([value_at(line, spent) for line in lines])


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All numbers of a comparison as JSON can hold them; what is not finite becomes null there."""
    return {
        "name": comparison.name,
        "about": comparison.about,
        "command": comparison.command,
        "budget": dict(comparison.budget),
        "seeds": list(comparison.seeds),
        "interval": statistics.LEVEL,
        "contenders": {
            contender.name: _contender(comparison, contender) for contender in comparison.contenders
        },
    }


def _contender(comparison: Comparison, contender: Contender) -> dict[str, Any]:
    recorded = [key for run in contender.runs.values() for line in run.metrics for key in line]
    keys = [key for key in dict.fromkeys(recorded) if key.startswith(_OF_AN_EVALUATION)]
    keys += ["epoch", *AXES.values(), "peak_memory_gb"]
    return {
        "written": dict(contender.written),
        "trained": [label for label in comparison.labels if contender.trains(label)],
        "final": {key: asdict(final(contender, key)) for key in keys},
        "final_over_prompts": {
            label: asdict(final_over_prompts(contender, label)) for label in comparison.labels
        },
        "at_equal": {label: _at_equal(comparison, contender, label) for label in comparison.labels},
        "targets": [_target(comparison, contender, target) for target in comparison.targets],
        "runs": {str(seed): _run(run, keys) for seed, run in sorted(contender.runs.items())},
        "failed": [asdict(run) for run in contender.failed],
    }


def _at_equal(comparison: Comparison, contender: Contender, label: str) -> dict[str, Any]:
    """By axis, what was spent and the score there."""
    key, found = f"eval/{label}", {}
    for axis in AXES:
        spent = equal_cost(comparison, key, axis)
        found[axis] = {"spent": spent, **asdict(at_cost(contender, key, axis, spent))}
    return found


def _target(comparison: Comparison, contender: Contender, target: ScoreTarget) -> dict[str, Any]:
    first = comparison.contenders[0]
    numbers = target.model_dump()
    for axis in AXES:
        numbers[axis] = {
            "median": asdict(cost(contender, target, axis)),
            "ratio_to_first": asdict(cost_ratio(contender, first, target, axis)),
            "by_seed": {str(k): v for k, v in costs(contender, target, axis).items()},
        }
    return numbers


def _run(run: RunRecord, keys: list[str]) -> dict[str, Any]:
    return {
        "end": None if run.end is None else asdict(run.end),
        "warnings": list(run.warnings),
        "evaluations": [{key: line.get(key) for key in keys} for line in run.evaluated],
        "environment": dict(run.environment),
    }


def _points(run: RunRecord, key: str, axis: str) -> list[tuple[float, float]]:
    points = [(or_nan(line.get(axis)), or_nan(line.get(key))) for line in run.metrics]
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _last(run: RunRecord, key: str) -> float:
    recorded = [line[key] for line in run.metrics if key in line]
    return or_nan(recorded[-1]) if recorded else math.nan
