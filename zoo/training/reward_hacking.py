"""Whether what is trained and what is held out have parted: the sign of a reward that is cheated.

Two evaluations have the same prompts and the same noise, so their images come in pairs: a reward
has changed where the mean of the pairs' differences is more than two standard errors from 0, which
are clustered by prompt as in `estimates`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from zoo.run.evaluations import EvaluationRecord
from zoo.training.standard_errors import estimate

_ERRORS = 2.0


@dataclass(frozen=True)
class Change:
    """A reward's means at two evaluations, and their difference in standard errors."""

    label: str
    before: float
    after: float
    errors: float


@dataclass(frozen=True)
class Parting:
    """The evaluation since which rewards have parted, and how."""

    since: EvaluationRecord
    rose: Change
    fell: Change


def find_parting(earlier: Iterable[EvaluationRecord], now: EvaluationRecord) -> Parting | None:
    """By the first of the earlier evaluations that tells of it."""
    for before in earlier:
        changes = detect(before, now)
        if changes is not None:
            return Parting(before, *changes)
    return None


def detect(before: EvaluationRecord, after: EvaluationRecord) -> tuple[Change, Change] | None:
    """The trained reward that rose and the held-out one that fell most surely, if both did."""
    changes = list(_changes(before, after))
    trained = [change for change in changes if after.rewards[change.label]]
    held_out = [change for change in changes if not after.rewards[change.label]]
    rose = max(trained, key=lambda change: change.errors, default=None)
    fell = min(held_out, key=lambda change: change.errors, default=None)
    if rose is None or fell is None or rose.errors <= _ERRORS or fell.errors >= -_ERRORS:
        return None
    return rose, fell


def _changes(before: EvaluationRecord, after: EvaluationRecord) -> Iterator[Change]:
    for label in after.rewards:
        if label not in before.scores:
            continue
        first, second = (
            torch.tensor(evaluation.scores[label], dtype=torch.float64)
            for evaluation in (before, after)
        )
        if len(first) != len(second):
            continue  # `eval` was changed in between: there are no pairs
        prompt = torch.arange(len(first)) // after.images_per_prompt
        change = estimate(second - first, prompt)
        valid = ~(second - first).isnan()
        if change.standard_error > 0:
            means = float(first[valid].mean()), float(second[valid].mean())
            yield Change(label, *means, change.mean / change.standard_error)
