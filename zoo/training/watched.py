"""Which evaluation of a run was the best so far, by a score that training cannot reach for."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Watched:
    """The best evaluation's epoch, score and standard error, and how many since are below it.

    `num_falling` counts evaluations in a row, up to the last one, that were below the best by more
    than its standard error.
    """

    best_epoch: int | None = None
    best: float = math.nan
    best_error: float = math.nan
    num_falling: int = 0

    def after(self, epoch: int, score: float, error: float) -> "Watched":
        """With one more evaluation; a score that is NaN tells nothing."""
        if math.isnan(score):
            return self
        if self.best_epoch is None or score > self.best:
            return Watched(epoch, score, error)
        fell = score < self.best - (0.0 if math.isnan(self.best_error) else self.best_error)
        falling = self.num_falling + 1 if fell else 0
        return Watched(self.best_epoch, self.best, self.best_error, falling)
