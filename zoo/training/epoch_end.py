"""What follows the collecting of an epoch: learning, an evaluation where one is due, the record."""

import time
from dataclasses import dataclass, replace

import torch

from zoo.engine.interrupt import Interrupted
from zoo.recipe.model import Stage
from zoo.reward.judge import RewardError
from zoo.run.folder import End
from zoo.run.tracker import Tracker
from zoo.training import metrics as records
from zoo.training import stop
from zoo.training.build import Run
from zoo.training.collect import Collected
from zoo.training.epoch import advantages, learned
from zoo.training.monitor import monitored, recorded
from zoo.training.state import Progress


@dataclass(frozen=True)
class Started:
    """When an epoch began, and how long this process had waited for others by then."""

    time: float
    waited: float

    def timed(self, run: Run, between: float) -> records.Timed:
        """The epoch's seconds, `between` collecting and learning; the same on every process."""
        waited = run.engine.communication.seconds() - self.waited
        mine = (between - self.time, time.perf_counter() - between, waited)
        every = run.engine.gather(torch.tensor([mine], dtype=torch.float64))
        collect, learn, _ = every.amax(0).tolist()
        return records.Timed(collect, learn, float(every[:, 2].mean()))


@dataclass(frozen=True)
class Done:
    """An epoch that has been learned from and recorded; `failure` is of its evaluation."""

    progress: Progress
    record: dict[str, float]
    is_best: bool = False
    end: End | None = None
    failure: Exception | None = None

    def to_be_saved(self, run: Run) -> bool:
        """Whether it has a checkpoint."""
        every, epoch = run.recipe.checkpoint.every, self.progress.epoch
        return self.is_best or self.failure is not None or due(epoch, every, run.stage)


def learn_from(
    run: Run, made: Collected, progress: Progress, started: Started, tracker: Tracker
) -> Done:
    """Measures advantages, learns, evaluates where due, records."""
    recipe = run.recipe
    tracker.warn(*made.verdict.failures)
    advantage = advantages(run, made)
    between = time.perf_counter()
    done = learned(run, made, advantage, progress.epoch, progress.step)
    run.objective.after_epoch(run.policy.weights, done.step)
    timed = started.timed(run, between)

    progress = records.moved_on(progress, made, done, timed)
    record = records.epoch(progress, made, done, timed, run)
    if done.num_empty:
        tracker.warn(_EMPTY)
    end = stop.spent(recipe.stop_when, progress) or stop.all_done(run.stage.run_epochs, progress)
    evaluated = None
    if recipe.eval is not None and (end or due(progress.epoch, recipe.eval.every, run.stage)):
        try:
            evaluated = monitored(run)
        except Exception as error:
            if not all_have_it(run, error):
                raise
            # What was learned is recorded and saved first.
            tracker.record(record)
            return Done(progress, record, failure=error)
    is_best = False
    if evaluated is not None:
        record |= evaluated.record
        watched = recorded(evaluated, tracker, progress.epoch, progress.watched)
        progress = replace(progress, watched=watched)
        is_best = recipe.checkpoint.best and watched.best_epoch == progress.epoch
        end = end or stop.found(recipe.stop_when, progress, record)
    tracker.record(record)
    return Done(progress, record, is_best, end)


def all_have_it(run: Run, error: Exception) -> bool:
    """Whether every process stops here: only together can they save."""
    return run.engine.size == 1 or isinstance(error, (Interrupted, RewardError))


def due(epoch: int, every: int, stage: Stage) -> bool:
    """Whether something that is done every so many epochs, and at a stage's end, is now."""
    return epoch == stage.end or epoch % every == 0


_EMPTY = (
    "some updates were passed over: no image in them carries a signal "
    "(all rewards of a group equal, or invalid); see empty_updates in metrics.jsonl"
)
