"""What a run has left in its folder, read for reports; also of one that is still going on."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.recipe.errors import RecipeError
from zoo.run import evaluations
from zoo.run import folder as run_dir
from zoo.run import tracker as tracking
from zoo.run.evaluations import EvaluationRecord
from zoo.run.folder import End

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
        RecipeError: it is not a run's folder, or a file in it is damaged.
    """
    recipe = run_dir.resolved(folder)
    probes = _json(folder / run_dir.PROBES) or []
    log = folder / tracking.LOG
    return RunRecord(
        folder,
        recipe,
        _json(folder / run_dir.ENVIRONMENT) or {},
        tuple(tracking.read(folder)),
        _evaluations(folder),
        tuple(ProbeRecord(**{**probe, "measured": _number(probe["measured"])}) for probe in probes),
        tuple(_warnings(log.read_text()) if log.is_file() else ()),
        run_dir.ended(folder),
    )


def _evaluations(folder: Path) -> tuple[EvaluationRecord, ...]:
    try:
        return tuple(evaluations.read(folder))
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


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
        said = " ".join(str(error).split())
        raise RecipeError(f"{path} is damaged ({said}); delete it to do without") from error
