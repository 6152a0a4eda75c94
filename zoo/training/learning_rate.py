"""The learning rate by update: its schedule, and what becomes of it in a run that goes on."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from zoo.recipe.model import Recipe, Stage
from zoo.run.console import short


@dataclass(frozen=True)
class LearningRate:
    """A learning rate by update: up from 0 over `warmup`, then constant or down to 0 at `total`."""

    peak: float
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    total: int = 1

    def at(self, step: int) -> float:
        """The rate of update `step`, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        factor = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + cos(pi * done)) / 2}[
            self.schedule
        ]
        return self.peak * factor


def rate_of(stage: Stage) -> LearningRate:
    """A stage's part of the run's schedule, which comes to its end at `optim.total` updates."""
    optim = stage.recipe.optim
    return LearningRate(optim.lr, optim.schedule, optim.warmup, optim.total or stage.run_updates)


@dataclass(frozen=True)
class RateChange:
    """What is said of the learning rate where a run goes on, and what is warned of."""

    said: str
    warnings: tuple[str, ...] = ()


def compare_rates(before: Recipe, now: Recipe, *, epoch: int, step: int) -> RateChange | None:
    """What a run of `before` that goes on as `now` has to tell of its rate, after so many updates.

    Nothing where neither its length nor its schedule is another, or the schedule does not fall.
    """
    stage = now.stage_at(epoch)
    was, rate = rate_of(before.stage_at(epoch)), rate_of(stage)
    if rate.schedule == "constant" or (was, before.epochs) == (rate, now.epochs):
        return None
    kept = "goes on as it was, to" if was == rate else f"was to end at update {was.total}, now at"
    last = f"{short(was.at(step - 1))} at the last update, " if step else ""
    otherwise = "" if was == rate else f" (it was to be {short(was.at(step))})"
    said = (
        f"the {rate.schedule} schedule of the learning rate {kept} update {rate.total} "
        f"(optim.total): {last}{short(rate.at(step))} at the next{otherwise}"
    )
    updates = sum(
        max(0, each.end - each.start) * each.recipe.optim.updates_per_epoch for each in now.timeline
    )
    if updates <= rate.total:
        return RateChange(said)
    stretched = LearningRate(rate.peak, rate.schedule, rate.warmup, updates)
    warning = (
        f"from update {rate.total} on the learning rate is 0 and nothing is learned, and the run "
        f"goes on to update {updates}; -s optim.total={updates} stretches the schedule to there "
        f"({short(stretched.at(step))} at the next update)"
    )
    return RateChange(said, (warning,))
