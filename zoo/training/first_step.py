"""A first training step, made in vain before anything is collected.

Memory that does not suffice, and processes that cannot talk to each other, then show in seconds and
not after an epoch's images.
"""

from dataclasses import replace

import torch
from torch import Tensor

from zoo import seeds
from zoo.objective.base import Loss
from zoo.policy.base import Policy
from zoo.policy.stand_in import WithVelocity
from zoo.rollout import Cond, Path, Rollout, Rows, take
from zoo.seeds import Draws
from zoo.training.collect import Shard
from zoo.training.cut import cut
from zoo.training.learn import Learner, batch_size
from zoo.training.lending import with_lent_weights
from zoo.training.stored import EncodedImages


def try_step(learner: Learner, share: Shard) -> None:
    """One micro-batch's forward and backward in the real shapes, and one reduction.

    Nothing is changed: the gradient is NaN, so the engine drops it, as it does with any update's.
    """
    engine = learner.engine
    scale = engine.loss_scale.state()
    try_gradient(learner, share, unmade_rows(learner, share))
    engine.update(learner.rate.at(0))
    engine.loss_scale.load(scale)  # that of losses in float16 is halved by what is not finite


def unmade_rows(learner: Learner, share: Shard) -> Rows:
    """An epoch's, of the real prompts and of latents that no network has made."""
    groups, rollout = share.groups, _unmade_rollout(share)
    advantage = (rollout.key % groups.size).double() - (groups.size - 1) / 2
    drawn = Draws(groups.seed, "rows", groups.epoch, rollout.key)
    rows: Rows = learner.objective.rows(rollout, advantage, drawn)
    return rows


def try_gradient(learner: Learner, share: Shard, rows: Rows) -> None:
    """One micro-batch's gradient, which is NaN."""
    engine, policy, objective, groups = (
        learner.engine, learner.policy, learner.objective, share.groups
    )  # fmt: skip
    num_rows = policy.weights.num_rows
    parts = cut(
        engine, rows, learner.num_updates,
        num_groups=len(groups.prompts), seed=groups.seed, epoch=groups.epoch,
    )  # fmt: skip
    index = torch.arange(batch_size(learner, parts)) % len(rows.key)
    draws = Draws(groups.seed, "loss", groups.epoch, rows.key, engine.device)

    def loss_of(asked: Policy, some: Tensor) -> Loss:
        return objective.loss(asked, take(rows, some), draws.take(some))

    with seeds.borrowed(groups.seed, "first step"):
        for asked, some in with_lent_weights(policy, loss_of, [index], checked=True):
            engine.backward(loss_of(asked, some).per_row.sum() * torch.nan)
    policy.weights.num_rows = num_rows


def _unmade_rollout(share: Shard) -> Rollout:
    """What an epoch would hold of this process's images, had no network made them."""
    collector, wanted, groups = share.collector, share.wanted, share.groups
    policy, sampler, key = collector.policy, collector.sampler, wanted.key
    if isinstance(sampler, EncodedImages):
        clean = torch.zeros(len(key), *policy.latent_shape, device=collector.engine.device)
        path = Path(clean, 0)
    else:
        few = torch.arange(min(len(key), collector.micro_batch))
        with torch.no_grad():
            some = sampler.sample(
                WithVelocity(policy, _stand_still),
                wanted.prompts_of(few),
                take(wanted.cond, few),
                wanted.draws.take(few),
                keep_path=groups.keep_path,
            )
        some = some if groups.keep_means else replace(some, mean=None)
        path = take(some, torch.arange(len(key)) % len(few))
    reward = (key % groups.size).double()
    return Rollout(
        key,
        key // groups.size,
        path,
        wanted.cond,
        sampler.grid(policy),
        reward,
        torch.ones(len(key)),
    )


def _stand_still(x: Tensor, t: Tensor, cond: Cond) -> Tensor:
    return torch.zeros_like(x)
