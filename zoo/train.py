"""The loop: collect, measure advantages, learn, record; evaluate and save when due."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from zoo import records
from zoo.advantage import group_advantage, mix
from zoo.build import Run
from zoo.collect import Collected, collect
from zoo.data.prompts import drawn
from zoo.evaluate import evaluated
from zoo.interrupt import Interrupt, Interrupted
from zoo.learn import Learned, LearningRate, learn
from zoo.probes import Pixels, probe
from zoo.reward.judge import RewardError, require_enough_valid
from zoo.run_state import Progress, save
from zoo.seeds import Draws
from zoo.tracking import Tracker

MAX_IDLE_EPOCHS = 3
"""So many epochs in a row without one finite update end the run."""


class RunError(Exception):
    """A run that cannot go on."""


@dataclass(frozen=True)
class Trained:
    """Where a run ended; `signal` is the one that ended it early, or 0."""

    progress: Progress
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
    with open_tracker() as tracker, Interrupt(run.engine) as interrupt:
        if before is not None:
            tracker.warn(*before.warnings)
            tracker.record(before.record | evaluated(run, tracker, 0))
        idle = 0
        for epoch in range(progress.epoch, recipe.epochs):
            started = time.perf_counter()
            try:
                num_groups = recipe.data.groups_per_epoch
                collected = _collected(run, epoch, num_groups, interrupt.leave_if_asked)
            except (Interrupted, RewardError) as stop:
                # Nothing of this epoch is kept, and what came before must not be lost.
                save(run, tracker.run_dir, progress, wandb_id=tracker.wandb_id)
                if isinstance(stop, Interrupted):
                    return Trained(progress, stop.number)
                raise
            tracker.warn(*collected.verdict.failures)
            advantage = _advantage(run, collected)
            between = time.perf_counter()
            learned = _learned(run, collected, advantage, epoch, progress.step)
            run.objective.after_epoch(run.policy.weights, learned.step)
            timed = records.Timed(between - started, time.perf_counter() - between)

            idle = idle + 1 if learned.num_dropped and learned.step == progress.step else 0
            progress = records.moved_on(progress, collected, learned, timed)
            record = records.epoch(progress, collected, learned, timed, run.judge.weights)
            last = progress.epoch == recipe.epochs
            if recipe.eval is not None and (last or progress.epoch % recipe.eval.every == 0):
                record |= evaluated(run, tracker, progress.epoch)
            tracker.record(record)
            number = interrupt.asked()
            lost = idle == MAX_IDLE_EPOCHS
            if last or number or lost or progress.epoch % recipe.checkpoint.every == 0:
                save(run, tracker.run_dir, progress, wandb_id=tracker.wandb_id)
            if lost:
                raise RunError(
                    f"nothing was learned in the last {idle} epochs: no gradient was finite; "
                    "lower optim.lr, or look at the rewards and the loss in metrics.jsonl"
                )
            if number and not last:
                return Trained(progress, number)
    return Trained(progress)


@dataclass(frozen=True)
class _Before:
    record: dict[str, float]
    warnings: tuple[str, ...]


def _before_any_update(run: Run) -> _Before:
    """A group for each process, collected, scored and probed, for the first line of the metrics."""
    pixels = Pixels()
    collected = _collected(run, -1, run.engine.size, lambda: None, pixels.see)
    advantage = _advantage(run, collected)
    mine = advantage[collected.rollout.key]
    probes = probe(
        run.objective, run.policy, collected.rollout, mine,
        lambda purpose, key: Draws(run.recipe.seed, purpose, -1, key, run.engine.device),
        micro_batch=run.recipe.engine.micro_batch.train,
    )  # fmt: skip
    probes = (*probes, pixels.probe())
    record = records.counters(Progress()) | records.rewards(collected, run.judge.weights)
    warnings = [
        f"probe failed: {p.name} is {p.measured:.6g}, "
        f"expected {p.expected:.6g} within {p.tolerance:.1g}"
        for p in probes
        if not p.holds
    ]
    return _Before(record | records.probed(probes), (*collected.verdict.failures, *warnings))


def _collected(
    run: Run,
    epoch: int,
    num_groups: int,
    between: Callable[[], None],
    see: Callable[[Tensor, Int[Tensor, " rows"]], None] = lambda images, key: None,
) -> Collected:
    """An epoch's images, with enough of them scored."""
    recipe = run.recipe
    collected = collect(
        run.engine, run.policy, run.sampler, run.judge,
        drawn(run.prompts, num_groups, seed=recipe.seed, epoch=epoch),
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
