"""The loop: collect, measure advantages, learn, record; evaluate and save when due.

A recipe's stages change what the loop is given, not what it does. It ends with the epochs, or when
a condition of `stop_when` holds.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from zoo.engine.interrupt import Interrupt, Interrupted
from zoo.recipe.model import Stage
from zoo.run import folder as run_dir
from zoo.run.folder import End
from zoo.run.tracker import Tracker
from zoo.training.baseline import Before, before_any_update
from zoo.training.build import Run
from zoo.training.epoch import collected
from zoo.training.epoch_end import Done, Started, all_have_it, learn_from
from zoo.training.monitor import recorded
from zoo.training.state import Progress, save

MAX_IDLE_EPOCHS = 3
"""So many epochs in a row without one update end the run."""


class RunError(Exception):
    """A run that cannot go on."""


@dataclass(frozen=True)
class Trained:
    """Where a run is, and in which folder; `signal` is the one that interrupted it, or 0."""

    progress: Progress
    run_dir: Path
    signal: int = 0
    end: End | None = None


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
            progress = _recorded_before(before, progress, tracker)
        idle, end = 0, None
        while progress.epoch < epochs and end is None:
            run = _stage_of(run, progress.epoch, tracker)
            started = Started(time.perf_counter(), run.engine.communication.seconds())
            try:
                made = collected(run, progress.epoch, interrupt.leave_if_asked)
            except Exception as error:
                return _left(run, error, progress, tracker)
            done = learn_from(run, made, progress, started, tracker)
            del made  # else its path would be held while the next one is made
            idle = 0 if done.progress.step > progress.step else idle + 1
            progress, end = done.progress, done.end
            number = interrupt.asked()
            if number or end or idle == MAX_IDLE_EPOCHS or done.to_be_saved(run):
                save(run, tracker.run_dir, progress, wandb_id=tracker.wandb_id)
            _require_progress(done, idle)
            if number and end is None:
                return Trained(progress, tracker.run_dir, number)
        if end is not None:
            tracker.note(run_dir.END, asdict(end))
    return Trained(progress, tracker.run_dir, end=end)


def _left(run: Run, error: Exception, progress: Progress, tracker: Tracker) -> Trained:
    """Saves what came before the epoch in which collecting stopped; nothing of it is kept.

    Raises:
        Exception: the error, where it is not that the run was asked to stop.
    """
    if all_have_it(run, error):
        save(run, tracker.run_dir, progress, wandb_id=tracker.wandb_id)
    if isinstance(error, Interrupted):
        return Trained(progress, tracker.run_dir, error.number)
    raise error


def _recorded_before(before: Before, progress: Progress, tracker: Tracker) -> Progress:
    tracker.warn(*before.warnings)
    tracker.note(run_dir.PROBES, [{**asdict(each), "holds": each.holds} for each in before.probes])
    record = before.record
    if before.monitored is not None:
        watched = recorded(before.monitored, tracker, 0, progress.watched)
        progress, record = replace(progress, watched=watched), record | before.monitored.record
    tracker.record(record)
    return progress


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


def _require_progress(done: Done, idle: int) -> None:
    if done.failure:
        raise done.failure
    if idle == MAX_IDLE_EPOCHS:
        raise RunError(_lost(idle, done.record))


def _lost(idle: int, record: dict[str, float]) -> str:
    why = "no gradient was finite" if record["dropped_updates"] else "no image carried a signal"
    return (
        f"nothing was learned in the last {idle} epochs: {why}; "
        "look at the rewards and the loss in metrics.jsonl, or lower optim.lr"
    )
