"""An epoch's parts, as a run's recipe has them: collecting, advantages, learning."""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor

from zoo.advantage import group_advantage, mix
from zoo.data.prompts import drawn
from zoo.reward.judge import require_enough_valid
from zoo.seeds import Draws
from zoo.training.build import Run
from zoo.training.collect import Collected, collect
from zoo.training.learn import Learned, LearningRate, learn


def collected(
    run: Run,
    epoch: int,
    between: Callable[[], None],
    see: Callable[[Tensor, Int[Tensor, " rows"]], None] = lambda images, key: None,
) -> Collected:
    """An epoch's images; `between` and `see` as in `collect`.

    Raises:
        RewardError: too few of them could be scored, or a reward breaks its contract.
    """
    recipe = run.recipe
    made = collect(
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
    verdict = made.verdict
    require_enough_valid(verdict.scores, verdict.failures, max_invalid=recipe.scoring.max_invalid)
    return made


def advantages(run: Run, collected: Collected) -> Float[Tensor, " images"]:
    """Of all processes' images: there are no distributed statistics."""
    options = run.recipe.advantage
    mixed = mix(collected.verdict.scores, run.judge.weights, collected.group, how=options.mix)
    return group_advantage(mixed, collected.group, std=options.std)


def learned(
    run: Run, collected: Collected, advantage: Float[Tensor, " images"], epoch: int, step: int
) -> Learned:
    """The epoch's updates, `step` of which were made before."""
    recipe, rollout = run.recipe, collected.rollout
    seed, device = recipe.seed, run.engine.device
    run.engine.clip(recipe.optim.max_grad_norm)  # which the stage before may have had otherwise
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
    return LearningRate(optim.lr, optim.schedule, optim.warmup, run.stage.run_updates)
