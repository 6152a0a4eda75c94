"""Collecting an epoch: every group's images, sampled and scored while sampling goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.engine import watchdog
from zoo.engine.base import Engine
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.reward.judge import Judge, RewardError, Verdict
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import Sampler
from zoo.seeds import Draws
from zoo.training.generate import Wanted, generate
from zoo.training.image_stats import ImageStats
from zoo.training.micro_batches import dealt, largest_share


@dataclass(frozen=True)
class Collected:
    """This process's images, and the scores of all processes' in the order of their keys.

    `num_evals` counts network forwards on images over all processes, `num_broken` images that
    came out non-finite (their scores are NaN). `stats` says what the others are like: see
    `ImageStats`.
    """

    rollout: Rollout
    verdict: Verdict
    group: Int[Tensor, " images"]
    num_evals: int
    num_broken: int
    stats: dict[str, float]


def collect(
    engine: Engine,
    policy: Policy,
    sampler: Sampler,
    judge: Judge,
    prompts: Sequence[Prompt],
    *,
    group_size: int,
    acts_with: Weights,
    keep_path: bool,
    draws: Callable[[Int[Tensor, " rows"]], Draws],
    micro_batch: int,
    between: Callable[[], None] = lambda: None,
    see: Callable[[Tensor, Int[Tensor, " rows"]], None] = lambda images, key: None,
) -> Collected:
    """One group of images for each prompt; group g is made by process g mod size.

    `draws` are by image; `between` is called after each micro-batch, `see` with each one's images
    and keys.
    """
    mine = dealt(len(prompts), rank=engine.rank, size=engine.size)
    local_group = torch.arange(len(mine)).repeat_interleave(group_size)
    group = mine[local_group]
    member = torch.arange(group_size).repeat(len(mine))
    key = group * group_size + member
    wanted = Wanted(
        prompts=[prompts[g] for g in mine.tolist()] or prompts[:1],
        prompt=local_group,
        key=key,
        largest=largest_share(len(prompts), size=engine.size) * group_size,
        member=member if sampler.needs_images else None,
    )

    received: list[Tensor] = []
    stats = ImageStats(group_size)

    def receive(images: Tensor, rows: Int[Tensor, " rows"]) -> None:
        received.append(rows)
        judge.submit(images, wanted.asked(rows), group[rows])
        stats.see(images, key[rows])
        see(images, key[rows])

    made = generate(
        policy, sampler, wanted, draws,
        weights=acts_with, micro_batch=micro_batch, keep_path=keep_path,
        receive=receive, between=between,
    )  # fmt: skip
    rows = torch.cat(received)
    verdict = _gathered(engine, _agreed(engine, judge), rows, key)
    between()
    num_broken = engine.gather(torch.tensor([len(key) - len(rows)]))
    return Collected(
        rollout=Rollout(key, group, made.path, made.cond, sampler.grid(policy)),
        verdict=verdict,
        group=torch.arange(len(prompts)).repeat_interleave(group_size),
        num_evals=int(engine.gather(torch.tensor([made.num_evals])).sum()),
        num_broken=int(num_broken.sum()),
        stats=stats.measured(engine.gather),
    )


def _agreed(engine: Engine, judge: Judge) -> Verdict:
    """This process's verdict; where a reward breaks its contract on any process, all of them stop.

    Raises:
        RewardError: with the first such process's reason.
    """
    verdict, broken = Verdict({}), []
    try:
        verdict = judge.finish(watchdog.pulse)
    except RewardError as error:
        broken.append(str(error))
    reasons = engine.gather_lines(broken)
    if reasons:
        raise RewardError(reasons[0])
    return verdict


def _gathered(
    engine: Engine, verdict: Verdict, rows: Int[Tensor, " scored"], key: Int[Tensor, " rows"]
) -> Verdict:
    """All processes' scores in the order of the images' keys; NaN for an image that was not scored.

    A number that only some processes' rewards recorded is NaN for the others' images.
    """
    order = engine.gather(key).argsort()

    def all_of(score: Float[Tensor, " scored"] | None) -> Float[Tensor, " images"]:
        mine = torch.full((len(key),), torch.nan, dtype=torch.float64)
        if score is not None:
            mine[rows] = score
        return engine.gather(mine)[order]

    return Verdict(
        {label: all_of(score) for label, score in verdict.scores.items()},
        {
            name: all_of(verdict.extras.get(name))
            for name in engine.gather_lines(sorted(verdict.extras))
        },
        {
            label: int(engine.gather(torch.tensor([count])).sum())
            for label, count in verdict.retried.items()
        },
        engine.gather_lines(verdict.failures),
    )
