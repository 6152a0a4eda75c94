"""Which checkpoint of a run is best: by scores that no reward was trained on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.recipe.errors import RecipeError
from zoo.registry import suggest
from zoo.run import checkpoint
from zoo.run.checkpoint import CheckpointError
from zoo.run.record import RunRecord, read_run

HELD_OUT, TRAINED = "monitor/held_out", "monitor/trained"


@dataclass(frozen=True)
class Evaluation:
    """An evaluation's epoch, score and other numbers, and whether there is a checkpoint of it."""

    epoch: int
    score: float
    record: Mapping[str, float | None]
    has_checkpoint: bool


@dataclass(frozen=True)
class Ranking:
    """A run's evaluations by epoch, and the metric that they are compared by."""

    metric: str
    evaluations: tuple[Evaluation, ...]

    @property
    def best(self) -> Evaluation | None:
        """The best of those with a checkpoint; of equals the first."""
        scored = [e for e in self.evaluations if e.has_checkpoint and not math.isnan(e.score)]
        return max(scored, key=lambda each: each.score, default=None)


def ranking(run_dir: Path, by: str | None = None) -> Ranking:
    """By the held-out score, where the run has one, else by what was trained; or by `eval/<by>`.

    Raises:
        RecipeError: it is no run's folder, has no evaluations, or none that scores `by`.
    """
    record = read_run(run_dir)
    if not record.evaluated:
        raise RecipeError(
            f"{run_dir} has no evaluations, which say what is best; use --epoch, or give the "
            "recipe eval: {}"
        )
    metric = _metric(record, by)
    saved = set(checkpoint.epochs(run_dir))
    return Ranking(metric, tuple(_evaluation(line, metric, saved) for line in record.evaluated))


def best_epoch(run_dir: Path, by: str | None = None) -> int:
    """The epoch of the best checkpoint.

    Raises:
        RecipeError: as `ranking`.
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
        raise RecipeError(f"--by {by}: evaluations do not score it{suggest(by, labels, 'scored')}")
    return f"eval/{by}"


def _evaluation(line: Mapping[str, float | None], metric: str, saved: set[int]) -> Evaluation:
    epoch, score = int(line["epoch"] or 0), line.get(metric)
    return Evaluation(epoch, math.nan if score is None else score, line, epoch in saved)
