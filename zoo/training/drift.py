"""How far a model has gone from the one it began as: its velocity, on images that it makes now."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from zoo.devices import send
from zoo.flow import noised
from zoo.policy.weights import WeightSets
from zoo.rollout import Rollout, Weights, take
from zoo.seeds import Draws
from zoo.training.collect import Shard

Base = Callable[[], AbstractContextManager[None]]
"""Inside, forwards are the pre-trained model's."""


def base_of(weights: WeightSets, moved: frozenset[Weights]) -> Base | None:
    """The model before any update; none where full fine-tuning keeps no copy of it.

    `moved` are the sets that are written: a reference among them is no base.
    """
    if weights.lora is not None:
        return weights.bare
    if weights.has(Weights.BASE):
        return lambda: weights.using(Weights.BASE)
    if Weights.REFERENCE in moved or not weights.has(Weights.REFERENCE):
        return None
    return lambda: weights.using(Weights.REFERENCE)


def measure_drift(share: Shard, rollout: Rollout, base: Base) -> float:
    """|v - v_base| / |v_base|, root-mean-square over all values, on one micro-batch of images.

    `rollout` has the images that were made of `share`. Of those of all processes evenly spaced ones
    are noised to evenly spaced times, the same ones however many processes there are. 0 is no
    change; 1 is as large as the velocity itself.
    """
    engine, policy, groups = share.collector.engine, share.collector.policy, share.groups
    num_images = len(groups.prompts) * groups.size
    wanted = min(share.collector.micro_batch, num_images)
    chosen = torch.arange(wanted) * num_images // wanted
    row = {key: i for i, key in enumerate(rollout.key.tolist())}
    place = [row.get(key, -1) for key in chosen.tolist()]
    mine = torch.tensor([i >= 0 for i in place])
    clean = rollout.path.clean
    if not len(clean):
        # A process without an image does the same forwards, on nothing.
        clean = clean.new_zeros(1, *clean.shape[1:])
    index = torch.tensor([max(i, 0) for i in place])
    at = clean[send(index, clean.device)]
    t = send((torch.arange(wanted) + 0.5) / wanted, clean.device)
    noise = Draws(groups.seed, "drift", 0, chosen, clean.device).normal(tuple(at.shape[1:]))
    x, cond = noised(at, noise, t), take(rollout.cond, index)
    with torch.no_grad():
        with policy.weights.using(groups.weights):
            velocity = policy.velocity(x, t, cond)
        with base():
            before = policy.velocity(x, t, cond)

    def size(of: Tensor) -> Tensor:
        return of.double().square().flatten(1).sum(1).cpu()[mine].sum()

    sums = torch.stack([size(velocity.double() - before.double()), size(before)])
    change, all_of_it = engine.gather(sums[None]).sum(0).tolist()
    return math.sqrt(change / all_of_it) if all_of_it > 0 else math.nan
