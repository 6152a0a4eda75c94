"""An epoch's three parts as a stage's recipe has them: collecting, advantages, learning."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.advantage import banned, diversity_scale, gate, group_advantage, mix, ranks
from zoo.engine.interrupt import Interrupt
from zoo.prompt import Prompt
from zoo.reward.judge import require_enough_valid
from zoo.rollout import Rollout
from zoo.run.tracker import Tracker
from zoo.seeds import Draws
from zoo.training.asked import alike
from zoo.training.build import StageRun
from zoo.training.collect import (
    Collected,
    Groups,
    collect,
    prompts_here,
    require_finite,
    shard_groups,
)
from zoo.training.cut import cut
from zoo.training.generate import asked_guidance
from zoo.training.learn import Learned, learn, num_batches
from zoo.training.state import Progress

_FORESEEN = 20
"""Epochs whose prompts are encoded together, where the policy keeps so many."""

_FLAT = (
    "the rewards say nothing: within every group all images were given the same one, or none that "
    "is valid; what is learned from them is no preference (see flat_groups in metrics.jsonl)"
)
_EMPTY = (
    "some updates were passed over: no image in them carries a signal "
    "(all rewards of a group equal, or invalid); see empty_updates in metrics.jsonl"
)

_DROPPED = (
    "some updates were dropped: their gradient was not finite; see dropped_updates in "
    "metrics.jsonl, and lower optim.lr if there are more"
)


def groups_of(run: StageRun, epoch: int) -> Groups:
    """The groups of an epoch: prompts, and so many images of each from noise of seed and epoch."""
    data, objective, seed = run.recipe.data, run.objective, run.recipe.seed
    prompts = run.mixture.drawn(data.groups_per_epoch, seed=seed, epoch=epoch)
    return Groups(
        prompts, data.group_size, objective.acts_with, seed, "collect", epoch,
        objective.needs_path, objective.needs_means, objective.guidance,
    )  # fmt: skip


def collect_epoch(
    run: StageRun, epoch: int, tracker: Tracker, interrupt: Interrupt, *, is_trained_on: bool = True
) -> Collected:
    """An epoch's images and their scores; warns of those that could not be had.

    Rewards that ask people wait for them where it `is_trained_on`.

    Raises:
        Interrupted: the run was asked to stop; it is heeded between micro-batches.
        PolicyError: too few of the images are finite.
        RewardError: too few images could be scored, or a reward breaks its contract.
    """
    # Every process makes and scores its share of the groups.
    groups, collector = groups_of(run, epoch), run.collector
    guidance = asked_guidance(collector.sampler, groups.guidance)
    collector.policy.expect(lambda: coming_prompts(run, epoch), guidance=guidance)
    share = shard_groups(collector, groups)
    bar = tracker.bar("collecting", share.num_batches)
    batches = interrupt.leave_between(bar.over(share.generate()))
    collected = collect(share, batches, lambda: interrupt.is_asked or not is_trained_on)
    interrupt.leave_if_asked()

    # An invalid score is left out of its group; too many of them are a broken policy or reward.
    verdict, most = collected.verdict, run.recipe.scoring.max_invalid
    require_finite(collected.num_broken, len(collected.group), max_invalid=most)
    asked = {label: verdict.scores[label][rows] for label, rows in collected.asked.items()}
    require_enough_valid(asked, verdict.failures, max_invalid=most)
    tracker.warn(*verdict.failures)
    return collected


def coming_prompts(run: StageRun, epoch: int) -> list[Prompt]:
    """This process's prompts of the next epochs of the stage, those of the next one first."""
    collector, later = run.collector, range(epoch + 1, min(epoch + _FORESEEN, run.stage.end))
    drawn = (groups_of(run, other).prompts for other in later)
    return [prompt for prompts in drawn for prompt in prompts_here(collector, prompts)]


def advantages(run: StageRun, collected: Collected) -> Float[Tensor, " images"]:
    """How much better each image is than its group: of all processes' images, on every process.

    A deviation of all images is of all that the same rewards score.
    """
    options, group = run.recipe.advantage, collected.group
    mixed = _mixed(run, collected)
    advantage = torch.full_like(mixed, torch.nan)
    for rows, _ in alike(collected.asked):
        advantage[rows] = group_advantage(mixed[rows], group[rows], std=options.std)
    if options.diversity is not None:
        distance = collected.verdict.scores[options.diversity]
        advantage = advantage * diversity_scale(mixed, distance, group)
    if options.ban is None:
        return advantage
    out = banned(mixed, group, **options.ban.model_dump())
    return advantage.masked_fill(out, torch.nan)


def judged(run: StageRun, collected: Collected) -> Rollout:
    """This process's images with their mixed reward, and how much the reference holds each."""
    options, key, mixed = run.recipe.advantage.gate, collected.rollout.key, _mixed(run, collected)
    rollout = replace(collected.rollout, reward=mixed[key])
    if options is None:
        return rollout
    scores, held = collected.verdict.scores, torch.zeros_like(mixed)
    for rows, _ in alike(collected.asked):
        held_out = {label: scores[label][rows] for label in options.rewards}
        held[rows] = gate(mixed[rows], held_out, share=options.share)
    return replace(rollout, gate=held[key])


def _mixed(run: StageRun, collected: Collected) -> Float[Tensor, " images"]:
    """One reward of all processes' images, of those that score each and have a weight."""
    weights, how = run.collector.judge.weights, run.recipe.advantage.mix
    ranked = {entry.label for entry in run.recipe.rewards if entry.rank}
    mixed = torch.full((len(collected.group),), torch.nan, dtype=torch.float64)
    for rows, labels in alike(collected.asked):
        group, own = collected.group[rows], [label for label in labels if label in weights]
        scores = {label: collected.verdict.scores[label][rows] for label in own}
        scores |= {label: ranks(scores[label], group) for label in own if label in ranked}
        mixed[rows] = mix(scores, {label: weights[label] for label in own}, group, how=how)
    return mixed


def learn_epoch(
    run: StageRun,
    collected: Collected,
    advantage: Float[Tensor, " images"],
    progress: Progress,
    tracker: Tracker,
) -> Learned:
    """The updates of the epoch that follows `progress`."""
    seed, epoch, engine = run.recipe.seed, progress.epoch, run.model.engine
    engine.clip(run.recipe.optim.max_grad_norm)  # which the stage before may have had otherwise

    # What the objective trains on: images at some times, pairs of them, or steps of their paths.
    rollout = judged(run, collected)
    draws = Draws(seed, "rows", epoch, rollout.key)
    rows = run.objective.rows(rollout, advantage[rollout.key], draws)

    # The rows of all processes, shuffled and cut into the epoch's updates.
    num_groups = run.recipe.data.groups_per_epoch
    parts = cut(
        engine, rows, run.learner.num_updates, num_groups=num_groups, seed=seed, epoch=epoch
    )
    draws = Draws(seed, "loss", epoch, rows.key, engine.device)
    bar = tracker.bar("learning", num_batches(run.learner, parts))
    learned = learn(run.learner, rows, parts, draws, progress.step, bar)

    # What goes on without an error, and should not.
    if run.objective.compares and not advantage.nan_to_num().any():
        tracker.warn(_FLAT)
    if learned.num_empty:
        tracker.warn(_EMPTY)
    tracker.warn(*run.objective.doubts(learned.metrics, progress.step, learned.step))
    if learned.num_dropped:
        tracker.warn(_DROPPED)
    return learned
