"""A finished run, read back: its recipe, metrics and evaluations, and which was best."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from zoo.errors import UserError, suggest
from zoo.run import checkpoint, evaluations
from zoo.run import folder as run_dir
from zoo.run import tracker as tracking
from zoo.run.checkpoint import CheckpointError
from zoo.run.evaluations import EvaluationRecord
from zoo.run.folder import End
from zoo.storage import json_data
from zoo.storage.files import ReadError, or_nan, reading
from zoo.storage.json_data import DamagedFileError, OrNan

T = TypeVar("T")

__all__ = ["End", "EvaluationRecord", "ProbeRecord", "RunRecord", "read_run"]


@dataclass(frozen=True)
class ProbeRecord:
    """What must hold before the first update, and what was measured."""

    name: str
    measured: OrNan
    expected: OrNan
    tolerance: OrNan
    holds: bool


_PROBES = TypeAdapter(tuple[ProbeRecord, ...]).validate_json


@dataclass(frozen=True)
class RunRecord:
    """A run: its resolved recipe, its numbers by epoch, its evaluations.

    The first of `metrics` is of epoch 0, before any update. Numbers that are not finite are None.
    `end` is none where the run was interrupted, has failed, or is still going on. `damaged` has a
    line for each file that could not be read, which the record does without; so has `warnings`.
    """

    folder: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: tuple[Mapping[str, float | None], ...]
    evaluations: tuple[EvaluationRecord, ...]
    probes: tuple[ProbeRecord, ...]
    warnings: tuple[str, ...]
    end: End | None
    damaged: tuple[str, ...] = ()

    @property
    def evaluated(self) -> tuple[Mapping[str, float | None], ...]:
        """The lines of `metrics` with an evaluation's numbers."""
        return tuple(line for line in self.metrics if any(key[:5] == "eval/" for key in line))

    @property
    def rewards(self) -> Mapping[str, bool]:
        """The labels of evaluated rewards, and whether any stage trained on each."""
        found: dict[str, bool] = {}
        for evaluation in self.evaluations:
            for label, trained in evaluation.rewards.items():
                found[label] = found.get(label, False) or trained
        return found


def read_run(folder: Path) -> RunRecord:
    """Everything but the checkpoints. What a kill has cut short is left out, and what is damaged.

    Raises:
        UserError: it is not a run's folder, or its recipe is damaged or cannot be read.
    """
    recipe = run_dir.read_resolved_recipe(folder)
    reader = _Reader()
    environment = reader.read(run_dir.read_environment, folder) or {}
    metrics = reader.read(tracking.read, folder) or []
    found = [reader.read(evaluations.read_file, path) for path in evaluations.paths(folder)]
    probes = reader.read(_probes, folder) or ()
    end = reader.read(run_dir.read_end, folder)
    logged = reader.read(_log, folder / tracking.LOG) or ""
    return RunRecord(
        folder,
        recipe,
        environment,
        tuple(metrics),
        tuple(evaluation for evaluation in found if evaluation is not None),
        probes,
        (*reader.damaged, *_warnings(logged)),
        end,
        tuple(reader.damaged),
    )


class _Reader:
    """Reads what a run's record can do without: None is what is damaged."""

    def __init__(self) -> None:
        self.damaged: list[str] = []

    def read(self, read: Callable[[Path], T], path: Path) -> T | None:
        try:
            return read(path)
        except (DamagedFileError, ReadError) as error:
            self.damaged.append(f"left out: {error}")
            return None


def _probes(folder: Path) -> tuple[ProbeRecord, ...]:
    path = folder / run_dir.PROBES
    return json_data.read(path, _PROBES) if path.is_file() else ()


def _log(path: Path) -> str:
    with reading(path):
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _warnings(log: str) -> Iterator[str]:
    for line in dict.fromkeys(log.splitlines()):
        if line.startswith(tracking.WARNING):
            yield line.removeprefix(tracking.WARNING)


HELD_OUT, TRAINED = "monitor/held_out", "monitor/trained"
COMPARED_SINCE = "monitor/compared_since"
"""The first epoch whose evaluation is of the same prompts and rewards; runs before have it not."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation's epoch, score and other numbers, and whether there is a checkpoint of it.

    It is comparable where it is of the same prompts and rewards as the run's last one.
    """

    epoch: int
    score: float
    record: Mapping[str, float | None] = field(repr=False)
    has_checkpoint: bool
    is_comparable: bool


@dataclass(frozen=True)
class Ranking:
    """A run's evaluations by epoch, and the metric that they are compared by.

    `damaged` as in `RunRecord`.
    """

    metric: str
    evaluations: tuple[Evaluation, ...]
    damaged: tuple[str, ...] = ()

    @property
    def best(self) -> Evaluation | None:
        """The best of those with a checkpoint; of equals the first."""
        return max(
            (each for each in self.comparable if each.has_checkpoint),
            key=lambda each: each.score, default=None,
        )  # fmt: skip

    @property
    def comparable(self) -> tuple[Evaluation, ...]:
        """Those that have a score which says the same of each."""
        return tuple(e for e in self.evaluations if e.is_comparable and not math.isnan(e.score))


def ranking(run_dir: Path, by: str | None = None) -> Ranking:
    """By the held-out score, where the run has one, else by what was trained; or by `eval/<by>`.

    Raises:
        UserError: it is no run's folder, has no evaluations, or none that scores `by`.
        DamagedFileError: it has none, since its metrics are damaged; names the line.
    """
    record = read_run(run_dir)
    if not record.evaluated:
        # Where the metrics were left out, the reason is why there are none.
        tracking.read(run_dir)
        raise UserError(
            f"{run_dir} has no evaluations, which say what is best; use --epoch, or give the "
            "recipe eval: {}"
        )
    metric = _metric(record, by)
    saved, since = set(checkpoint.epochs(run_dir)), record.evaluated[-1].get(COMPARED_SINCE) or 0
    scored = tuple(_evaluation(line, metric, saved, since) for line in record.evaluated)
    return Ranking(metric, scored, record.damaged)


def best_epoch(run_dir: Path, by: str | None = None) -> int:
    """The epoch of the best checkpoint.

    Raises:
        UserError: as `ranking`.
        CheckpointError: no evaluated epoch has a checkpoint.
    """
    best = ranking(run_dir, by).best
    if best is None:
        raise CheckpointError(f"{run_dir} has no checkpoint of an epoch that was evaluated")
    return best.epoch


def _metric(record: RunRecord, by: str | None) -> str:
    known = {key for line in record.evaluated for key in line}
    if by is None:
        return HELD_OUT if HELD_OUT in known else TRAINED
    if f"eval/{by}" not in known:
        labels = sorted(key.removeprefix("eval/") for key in known if key.startswith("eval/"))
        raise UserError(f"--by {by}: evaluations do not score it{suggest(by, labels, 'scored')}")
    return f"eval/{by}"


def _evaluation(
    line: Mapping[str, float | None], metric: str, saved: set[int], since: float
) -> Evaluation:
    epoch, score = int(line["epoch"] or 0), line.get(metric)
    return Evaluation(epoch, or_nan(score), line, epoch in saved, epoch >= since)
