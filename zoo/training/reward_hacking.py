"""Whether what is trained and what is held out have parted: the sign of a reward that is cheated.

Two evaluations have the same prompts and the same noise, so their images come in pairs: a reward
has changed where the mean of the pairs' differences is more than two standard errors from 0, which
are clustered by prompt as in `estimates`.
"""

from collections.abc import Iterator
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


def parted(before: EvaluationRecord, after: EvaluationRecord) -> tuple[Change, Change] | None:
    """The trained reward that rose and the held-out one that fell most surely, if both did."""
    changes = list(_changes(before, after))
    rose = [each for each in changes if after.rewards[each.label] and each.errors > _ERRORS]
    fell = [each for each in changes if not after.rewards[each.label] and each.errors < -_ERRORS]
    if not rose or not fell:
        return None
    return max(rose, key=lambda each: each.errors), min(fell, key=lambda each: each.errors)


def _changes(before: EvaluationRecord, after: EvaluationRecord) -> Iterator[Change]:
    for label in after.rewards:
        if label not in before.scores:
            continue
        first, second = (torch.tensor(each.scores[label], dtype=torch.float64)
                         for each in (before, after))  # fmt: skip
        if len(first) != len(second):
            continue  # `eval` was changed in between: there are no pairs
        prompt = torch.arange(len(first)) // after.images_per_prompt
        found = estimate(second - first, prompt)
        valid = ~(second - first).isnan()
        if found.standard_error > 0:
            means = float(first[valid].mean()), float(second[valid].mean())
            yield Change(label, *means, found.mean / found.standard_error)
