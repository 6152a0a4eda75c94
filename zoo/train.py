"""The loop: collect, measure advantages, learn, record; evaluate and save when due."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo import records
from zoo.advantage import group_advantage, mix
from zoo.build import Run
from zoo.collect import Collected, collect
from zoo.data.prompts import drawn
from zoo.evaluate import Evaluated, evaluated
from zoo.interrupt import Interrupt, Interrupted
from zoo.learn import Learned, LearningRate, learn
from zoo.objective.base import Probe
from zoo.probes import Pixels, probe
from zoo.reward.judge import require_enough_valid
from zoo.run_state import Progress, save
from zoo.seeds import Draws
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
    """Runs the epochs that remain of the recipe.

    The tracker, and with it the run's folder, is opened once a first collection has been scored.

    Raises:
        RewardError: a reward fails too often or breaks its contract.
        RunError: the updates have no finite gradients.
    """
    recipe = run.recipe
    before = _before_any_update(run) if progress.epoch == 0 else None
    with open_tracker() as tracker, Interrupt(run.engine, tracker.say) as interrupt:
        if before is not None:
            tracker.warn(*before.warnings)
            tracker.record(before.record | before.evaluated.shown_in(tracker, 0))
        idle = 0
        while progress.epoch < recipe.epochs:
            started = _Started(time.perf_counter(), run.engine.communication.seconds())
            try:
                collected = _collected(run, progress.epoch, interrupt.leave_if_asked)
            except Exception as stop:
                # Nothing of this epoch is kept, and what came before must not be lost.
                save(run, tracker.run_dir, progress, wandb_id=tracker.wandb_id)
                if isinstance(stop, Interrupted):
                    return Trained(progress, tracker.run_dir, stop.number)
                raise
            done = _learn_from(run, collected, progress, started, tracker)
            del collected  # else its path would be held while the next one is made
            idle = 0 if done.progress.step > progress.step else idle + 1
            progress = done.progress
            last, number = progress.epoch == recipe.epochs, interrupt.asked()
            ends = last or number or done.failure or idle == MAX_IDLE_EPOCHS
            if ends or progress.epoch % recipe.checkpoint.every == 0:
                save(run, tracker.run_dir, progress, wandb_id=tracker.wandb_id)
            if done.failure:
                raise done.failure
            if idle == MAX_IDLE_EPOCHS:
                raise RunError(_lost(idle, done.record))
            if number and not last:
                return Trained(progress, tracker.run_dir, number)
    return Trained(progress, tracker.run_dir)


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
    run: Run, collected: Collected, progress: Progress, started: "_Started", tracker: Tracker
) -> _Done:
    """Measures advantages, learns, evaluates where due, records."""
    recipe = run.recipe
    tracker.warn(*collected.verdict.failures)
    advantage = _advantage(run, collected)
    between = time.perf_counter()
    learned = _learned(run, collected, advantage, progress.epoch, progress.step)
    run.objective.after_epoch(run.policy.weights, learned.step)
    timed = started.timed(run, between)

    progress = records.moved_on(progress, collected, learned, timed)
    record = records.epoch(progress, collected, learned, timed, run.judge.weights, run.engine.size)
    if learned.num_empty:
        tracker.warn(_EMPTY)
    failure = None
    if recipe.eval is not None and _due(progress.epoch, recipe.eval.every, recipe.epochs):
        try:
            record |= evaluated(run).shown_in(tracker, progress.epoch)
        except Exception as error:
            failure = error  # what was learned is recorded and saved first
    tracker.record(record)
    return _Done(progress, record, failure)


def _due(epoch: int, every: int, epochs: int) -> bool:
    return epoch == epochs or epoch % every == 0


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


@dataclass(frozen=True)
class _Before:
    record: dict[str, float]
    evaluated: Evaluated
    warnings: tuple[str, ...]


def _before_any_update(run: Run) -> _Before:
    """An epoch collected, scored and probed, and the first evaluation: the metrics' first line."""
    pixels = Pixels()
    collected = _collected(run, -1, lambda: None, pixels.see)
    mine = _advantage(run, collected)[collected.rollout.key]
    probes = probe(
        run.objective, run.policy, collected.rollout, mine,
        lambda purpose, key: Draws(run.recipe.seed, purpose, -1, key, run.engine.device),
        micro_batch=run.recipe.engine.micro_batch.train,
    )  # fmt: skip
    broken = Probe("broken images", collected.num_broken, 0.0, 0.0)
    probes = (*probes, pixels.probe(), broken)
    record = records.counters(Progress()) | records.rewards(collected, run.judge.weights)
    failed = [
        f"probe failed: {p.name} is {p.measured:.6g}, "
        f"expected {p.expected:.6g} within {p.tolerance:.1g}"
        for p in probes
        if not p.holds
    ]
    warnings = (*collected.verdict.failures, *run.engine.gather_lines(failed))
    return _Before(record | records.probed(probes), evaluated(run), warnings)


def _collected(
    run: Run,
    epoch: int,
    between: Callable[[], None],
    see: Callable[[Tensor, Int[Tensor, " rows"]], None] = lambda images, key: None,
) -> Collected:
    """An epoch's images, with enough of them scored."""
    recipe = run.recipe
    collected = collect(
        run.engine, run.policy, run.sampler, run.judge,
        drawn(run.prompts, recipe.data.groups_per_epoch, seed=recipe.seed, epoch=epoch),
        group_size=recipe.data.group_size,
        acts_with=run.objective.acts_with,
        keep_path=run.objective.needs_path,
        draws=lambda key: Draws(recipe.seed, "collect", epoch, key, run.engine.device),
        micro_batch=recipe.engine.micro_batch.sample,
        between=between,
        see=see,
    )  # fmt: skip
    verdict = collected.verdict
    require_enough_valid(verdict.scores, verdict.failures, max_invalid=recipe.scoring.max_invalid)
    return collected


def _advantage(run: Run, collected: Collected) -> Float[Tensor, " images"]:
    """Of all processes' images: there are no distributed statistics."""
    options = run.recipe.advantage
    mixed = mix(collected.verdict.scores, run.judge.weights, collected.group, how=options.mix)
    return group_advantage(mixed, collected.group, std=options.std)


def _learned(
    run: Run, collected: Collected, advantage: Float[Tensor, " images"], epoch: int, step: int
) -> Learned:
    recipe, rollout = run.recipe, collected.rollout
    seed, device = recipe.seed, run.engine.device
    rows = run.objective.rows(
        rollout, advantage[rollout.key], Draws(seed, "rows", epoch, rollout.key)
    )
    return learn(
        run.engine, run.policy, run.objective, rows,
        draws=Draws(seed, "loss", epoch, rows.key, device),
        num_updates=recipe.optim.updates_per_epoch,
        micro_batch=recipe.engine.micro_batch.train,
        rate=_rate(run),
        step=step,
        ema_cap=recipe.optim.ema.cap if recipe.optim.ema else None,
    )  # fmt: skip


def _rate(run: Run) -> LearningRate:
    optim = run.recipe.optim
    total = run.recipe.epochs * optim.updates_per_epoch
    return LearningRate(optim.lr, optim.schedule, optim.warmup, total)
