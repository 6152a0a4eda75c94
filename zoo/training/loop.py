"""The loop: collect, measure advantages, learn, evaluate, record, save; in the order they happen.

A recipe's stages change what the loop is given, not what it does. It ends with the epochs, or when
a condition of `stop_when` holds.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from zoo.engine.interrupt import Interrupt, Interrupted
from zoo.recipe.model import Stage, shown_size
from zoo.reward.judge import RewardError
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run.folder import END, End
from zoo.run.tracker import Tracker
from zoo.training import metrics, stop
from zoo.training.asking import asking_beside
from zoo.training.baseline import measure_untrained
from zoo.training.build import Run, StageRun
from zoo.training.collect import PolicyError, shard_groups
from zoo.training.epoch import advantages, collect_epoch, groups_of, learn_epoch
from zoo.training.first_step import try_step
from zoo.training.monitor import evaluate_run, record_evaluation
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


def train(run: Run, progress: Progress, tracker: Tracker) -> Trained:
    """Runs the epochs that remain of the recipe, stage by stage.

    Raises:
        PolicyError, RewardError: images are not finite; a reward fails too often or wrongly.
        RecipeError: the run is to stop at a score that its evaluation does not have.
        RunError: nothing is learned.
    """
    idle, end, current = 0, None, run.stage_at(progress.epoch)
    with (
        asking_beside(run, tracker.run_dir),
        suppress(Interrupted),
        Interrupt(run.model.engine, tracker.say) as interrupt,
    ):
        _say_which(current.stage, tracker)
        # Before any update: the scores to improve on, and probes of what must hold by now.
        if progress.epoch == 0:
            progress = measure_untrained(current, run.of_other_sizes, tracker, interrupt)
        else:
            _try_lending(current, progress)
        if progress.unevaluated is not None:
            progress, end = _evaluate_late(run, progress, tracker, interrupt)
        while progress.epoch < run.epochs and end is None:
            current = _enter_stage(run, current, progress, tracker)
            watch = metrics.Stopwatch(run.model.engine)

            # Collect: groups of images, each of one prompt, which rewards score as they are made.
            with _save_on_error(current, tracker, progress):
                collected = collect_epoch(current, progress.epoch, tracker, interrupt)

            # Advantages: how much better is each image than the others of its group?
            advantage = advantages(current, collected)
            watch.lap()

            # Learn: a few updates that make what was better likelier, and what was worse rarer.
            learned = learn_epoch(current, collected, advantage, progress, tracker)
            current.objective.after_epoch(run.model.policy.weights, learned.step)
            timed = watch.read(collected)

            # Count what was done: from here on the epoch is part of the run.
            idle = 0 if learned.step > progress.step else idle + 1
            progress = metrics.advance(progress, collected, learned, timed)
            record = metrics.epoch(current, progress, collected, learned, timed)
            del collected, advantage  # else paths would be held while the next ones are made

            # Evaluate, where it is due: always the same prompts, from the same noise. Record: a
            # line of metrics.jsonl, and whatever else the tracker has.
            progress, end = _close_epoch(current, progress, record, tracker, interrupt)

            # Save, where it is due or the last chance; then see whether the run goes on.
            signal, lost = interrupt.agree(), idle == MAX_IDLE_EPOCHS
            if signal or end or lost or _checkpoint_due(current, progress):
                save(current, tracker, progress)
            _require_progress(lost, record)
            if signal and end is None:
                raise Interrupted(signal)
        if end is not None:
            tracker.note(END, asdict(end))
    return Trained(progress, tracker.run_dir, interrupt.left_by, end)


def _close_epoch(
    run: StageRun,
    progress: Progress,
    record: metrics.Record,
    tracker: Tracker,
    interrupt: Interrupt,
) -> tuple[Progress, End | None]:
    """Evaluates what was learned, where that is due, and records the epoch; the run's end if so."""
    when = run.recipe.stop_when
    end = stop.at_budget(when, progress, run.stage.run_epochs)
    if _evaluation_due(run, progress) or end:
        progress = _evaluate(run, progress, record, tracker, interrupt)
        end = end or stop.at_evaluation(when, progress, record)
    tracker.record(record)
    return progress, end


def _evaluate_late(
    run: Run, progress: Progress, tracker: Tracker, interrupt: Interrupt
) -> tuple[Progress, End | None]:
    """Closes an epoch whose evaluation a signal cut off, as it would have been."""
    ended, kept = run.stage_at(progress.epoch - 1), progress.unevaluated or {}
    record = {name: math.nan if value is None else value for name, value in kept.items()}
    progress = replace(progress, unevaluated=None)
    progress, end = _close_epoch(ended, progress, record, tracker, interrupt)
    save(ended, tracker, progress)
    return progress, end


def _evaluate(
    run: StageRun,
    progress: Progress,
    record: metrics.Record,
    tracker: Tracker,
    interrupt: Interrupt,
) -> Progress:
    """Adds to the epoch's record what an evaluation finds, where the recipe has one."""
    with _save_on_error(run, tracker, progress, record):
        evaluation = evaluate_run(run, tracker, interrupt)
    if evaluation is None:
        return progress
    record |= evaluation.record
    return record_evaluation(evaluation, tracker, progress)


@contextmanager
def _save_on_error(
    run: StageRun, tracker: Tracker, progress: Progress, record: metrics.Record | None = None
) -> Iterator[None]:
    """Saves what was done before what fails inside, or is interrupted there; first its `record`.

    That takes all processes, so only for an error that all of them have. A model that has broken
    down is not saved: nothing can go on with it, nor with a checkpoint of it. An epoch that was
    interrupted is recorded when what is left of it is done.
    """
    try:
        yield
    except Interrupted:
        save(run, tracker, progress if record is None else replace(progress, unevaluated=record))
        raise
    except PolicyError as error:
        if record is not None:
            tracker.record(record)
        if run.model.engine.rank == 0:
            checkpoint.mark_unsound(tracker.run_dir, progress.epoch, str(error))
        raise
    except Exception as error:
        if run.model.engine.size == 1 or isinstance(error, RewardError):
            if record is not None:
                tracker.record(record)
            save(run, tracker, progress)
        raise


def _enter_stage(run: Run, current: StageRun, progress: Progress, tracker: Tracker) -> StageRun:
    """The same, or at its end the next, whose objective goes on from where this one's was."""
    following = run.stage_at(progress.epoch)
    if following is not current:
        following.objective.load(current.objective.state())
        _say_which(following.stage, tracker)
        _try_lending(following, progress)
    if progress.epoch == following.stage.start > 0:
        _start_sets(run, following)
    return following


def _try_lending(run: StageRun, progress: Progress) -> None:
    """A step of what was not tried when the run began, where sets of weights are lent.

    Raises:
        UserError: the loss asks them for what `lending` cannot answer.
    """
    if run.model.policy.weights.copies_on != "device":
        try_step(run.learner, shard_groups(run.collector, groups_of(run, progress.epoch)))


def _start_sets(run: Run, stage: StageRun) -> None:
    """The sets that the stage before did not move, and were left behind, start as live is.

    Not the reference: it is the model as it was until it is moved.
    """
    before = run.stages[run.stages.index(stage) - 1]
    left = stage.objective.moves - before.objective.moves - {Weights.REFERENCE}
    for which in sorted(left, key=lambda which: which.value):
        run.model.policy.weights.blend(which, decay=0.0)


def _say_which(stage: Stage, tracker: Tracker) -> None:
    if stage.index is not None:
        rewards = ", ".join(
            f"{reward.label} x {reward.weight:g}" for reward in stage.recipe.rewards
        )
        size = shown_size(stage.recipe.size)
        of = f" of {size}" if size else ""
        tracker.say(f"{stage.shown}: epochs {stage.start + 1} to {stage.end}{of}, on {rewards}")


def _evaluation_due(run: StageRun, progress: Progress) -> bool:
    options = run.recipe.eval
    return options is not None and _due(progress.epoch, options.every, run.stage)


def _checkpoint_due(run: StageRun, progress: Progress) -> bool:
    """Whether its time has come, or the epoch's evaluation is the best so far."""
    options = run.recipe.checkpoint
    is_best = options.best and progress.watched.best_epoch == progress.epoch
    return is_best or _due(progress.epoch, options.every, run.stage)


def _due(epoch: int, every: int, stage: Stage) -> bool:
    """Whether something that is done every so many epochs, and at a stage's end, is now."""
    return epoch == stage.end or epoch % every == 0


def _require_progress(lost: bool, record: metrics.Record) -> None:
    if not lost:
        return
    why = "no gradient was finite" if record["dropped_updates"] else "no image carried a signal"
    raise RunError(
        f"nothing was learned in the last {MAX_IDLE_EPOCHS} epochs: {why}; "
        "look at the rewards and the loss in metrics.jsonl, or lower optim.lr"
    )
