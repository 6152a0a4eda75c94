"""The loop: collect, measure advantages, learn, record; evaluate and save when due.

A recipe's stages change what the loop is given, not what it does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from zoo import records
from zoo.before import before_any_update
from zoo.build import Run
from zoo.collect import Collected
from zoo.epoch import advantages, collected, learned
from zoo.evaluate import evaluated
from zoo.interrupt import Interrupt, Interrupted
from zoo.recipe.stage import Stage
from zoo.reward.judge import RewardError
from zoo.run_state import Progress, save
from zoo.tracking import Tracker

MAX_IDLE_EPOCHS = 3
"""So many epochs in a row without one update end the run."""


class RunError(Exception):
    """A run that cannot go on."""


@dataclass(frozen=True)
class Trained:
    """Where a run ended, and in which folder; `signal` is the one that ended it early, or 0."""

    progress: Progress
    run_dir: Path
    signal: int = 0


def train(run: Run, progress: Progress, open_tracker: Callable[[], Tracker]) -> Trained:
    """Runs the epochs that remain of the recipe, stage by stage; `run` is that of the first.

    The last epoch of a stage is evaluated by that stage, and saved. The tracker, and with it the
    run's folder, is opened once a first collection has been scored.

    Raises:
        RewardError: a reward fails too often or breaks its contract.
        RunError: the updates have no finite gradients.
    """
    epochs, run = run.stage.run_epochs, run.at(progress.epoch)
    before = before_any_update(run) if progress.epoch == 0 else None
    with open_tracker() as tracker, Interrupt(run.engine, tracker.say) as interrupt:
        _say_which(run.stage, tracker)
        if before is not None:
            tracker.warn(*before.warnings)
            tracker.record(before.record | before.evaluated.shown_in(tracker, 0))
        idle = 0
        while progress.epoch < epochs:
            run = _stage_of(run, progress.epoch, tracker)
            started = _Started(time.perf_counter(), run.engine.communication.seconds())
            try:
                made = collected(run, progress.epoch, interrupt.leave_if_asked)
            except Exception as stop:
                # Nothing of this epoch is kept, and what came before must not be lost.
                if _all_have_it(run, stop):
                    save(run, tracker.run_dir, progress, wandb_id=tracker.wandb_id)
                if isinstance(stop, Interrupted):
                    return Trained(progress, tracker.run_dir, stop.number)
                raise
            done = _learn_from(run, made, progress, started, tracker)
            del made  # else its path would be held while the next one is made
            idle = 0 if done.progress.step > progress.step else idle + 1
            progress = done.progress
            last, number = progress.epoch == epochs, interrupt.asked()
            ends = number or done.failure or idle == MAX_IDLE_EPOCHS
            if ends or _due(progress.epoch, run.recipe.checkpoint.every, run.stage):
                save(run, tracker.run_dir, progress, wandb_id=tracker.wandb_id)
            if done.failure:
                raise done.failure
            if idle == MAX_IDLE_EPOCHS:
                raise RunError(_lost(idle, done.record))
            if number and not last:
                return Trained(progress, tracker.run_dir, number)
    return Trained(progress, tracker.run_dir)


def _stage_of(run: Run, epoch: int, tracker: Tracker) -> Run:
    """The same, or at its stage's end the next, whose objective goes on from where this one was."""
    following = run.at(epoch)
    if following is not run:
        following.objective.load(run.objective.state())
        _say_which(following.stage, tracker)
    return following


def _say_which(stage: Stage, tracker: Tracker) -> None:
    if stage.index is not None:
        rewards = ", ".join(f"{each.label} x {each.weight:g}" for each in stage.recipe.rewards)
        tracker.say(f"{stage.shown}: epochs {stage.start + 1} to {stage.end}, on {rewards}")


@dataclass(frozen=True)
class _Started:
    """When an epoch began, and how long this process had waited for others by then."""

    time: float
    waited: float

    def timed(self, run: Run, between: float) -> records.Timed:
        """The epoch's seconds, `between` collecting and learning."""
        waited = run.engine.gather(
            torch.tensor([run.engine.communication.seconds() - self.waited], dtype=torch.float64)
        )
        learning = time.perf_counter() - between
        return records.Timed(between - self.time, learning, float(waited.mean()))


@dataclass(frozen=True)
class _Done:
    """An epoch that has been learned from and recorded; `failure` is of its evaluation."""

    progress: Progress
    record: dict[str, float]
    failure: Exception | None = None


def _learn_from(
    run: Run, made: Collected, progress: Progress, started: _Started, tracker: Tracker
) -> _Done:
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
    failure = None
    if recipe.eval is not None and _due(progress.epoch, recipe.eval.every, run.stage):
        try:
            record |= evaluated(run).shown_in(tracker, progress.epoch)
        except Exception as error:
            if not _all_have_it(run, error):
                raise
            failure = error  # what was learned is recorded and saved first
    tracker.record(record)
    return _Done(progress, record, failure)


def _all_have_it(run: Run, error: Exception) -> bool:
    """Whether every process stops here: only together can they save."""
    return run.engine.size == 1 or isinstance(error, (Interrupted, RewardError))


def _due(epoch: int, every: int, stage: Stage) -> bool:
    return epoch == stage.end or epoch % every == 0


_EMPTY = (
    "some updates were passed over: no image in them carries a signal "
    "(all rewards of a group equal, or invalid); see empty_updates in metrics.jsonl"
)


def _lost(idle: int, record: dict[str, float]) -> str:
    why = "no gradient was finite" if record["dropped_updates"] else "no image carried a signal"
    return (
        f"nothing was learned in the last {idle} epochs: {why}; "
        "look at the rewards and the loss in metrics.jsonl, or lower optim.lr"
    )
