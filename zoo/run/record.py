"""A finished run, read back: its recipe, metrics and evaluations, and which was best."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UserError, join_lines, suggest
from zoo.run import checkpoint, evaluations
from zoo.run import folder as run_dir
from zoo.run import tracker as tracking
from zoo.run.checkpoint import CheckpointError
from zoo.run.evaluations import EvaluationRecord
from zoo.run.folder import End
from zoo.storage.files import or_nan

__all__ = ["End", "EvaluationRecord", "ProbeRecord", "RunRecord", "read_run"]


@dataclass(frozen=True)
class ProbeRecord:
    """What must hold before the first update, and what was measured."""

    name: str
    measured: float
    expected: float
    tolerance: float
    holds: bool


@dataclass(frozen=True)
class RunRecord:
    """A run: its resolved recipe, its numbers by epoch, its evaluations.

    The first of `metrics` is of epoch 0, before any update. Numbers that are not finite are None.
    `end` is none where the run was interrupted, has failed, or is still going on.
    """

    folder: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: tuple[Mapping[str, float | None], ...]
    evaluations: tuple[EvaluationRecord, ...]
    probes: tuple[ProbeRecord, ...]
    warnings: tuple[str, ...]
    end: End | None

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
    """Everything but the checkpoints. What a kill has cut short is left out.

    Raises:
        UserError: it is not a run's folder, or a file in it is damaged.
    """
    recipe = run_dir.read_resolved_recipe(folder)
    probes = _json(folder / run_dir.PROBES) or []
    log = folder / tracking.LOG
    return RunRecord(
        folder,
        recipe,
        _json(folder / run_dir.ENVIRONMENT) or {},
        tuple(tracking.read(folder)),
        _evaluations(folder),
        tuple(ProbeRecord(**{**probe, "measured": or_nan(probe["measured"])}) for probe in probes),
        tuple(
            _warnings(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else ()
        ),
        run_dir.read_end(folder),
    )


def _evaluations(folder: Path) -> tuple[EvaluationRecord, ...]:
    try:
        return tuple(evaluations.read(folder))
    except ValueError as error:
        raise UserError(str(error)) from error


def _warnings(log: str) -> Iterator[str]:
    for line in dict.fromkeys(log.splitlines()):
        if line.startswith(tracking.WARNING):
            yield line.removeprefix(tracking.WARNING)


def _json(path: Path) -> Any:
    """None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({join_lines(error)}); delete it to do without"
        ) from error


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
    record: Mapping[str, float | None]
    has_checkpoint: bool
    is_comparable: bool


@dataclass(frozen=True)
class Ranking:
    """A run's evaluations by epoch, and the metric that they are compared by."""

    metric: str
    evaluations: tuple[Evaluation, ...]

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
    """
    record = read_run(run_dir)
    if not record.evaluated:
        raise UserError(
            f"{run_dir} has no evaluations, which say what is best; use --epoch, or give the "
            "recipe eval: {}"
        )
    metric = _metric(record, by)
    saved, since = set(checkpoint.epochs(run_dir)), record.evaluated[-1].get(COMPARED_SINCE) or 0
    return Ranking(
        metric,
        tuple(
            Evaluation(epoch, or_nan(line.get(metric)), line, epoch in saved, epoch >= since)
            for line in record.evaluated
            for epoch in [int(line["epoch"] or 0)]
        ),
    )


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
