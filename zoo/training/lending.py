"""Weights in the host's memory are moved to the device once for many micro-batches.

In full fine-tuning with `copies_on: cpu` a set of weights moves for its forwards: of SD3.5 Medium
10 GB, 0.2 s at 50 GB a second, in every micro-batch. To leave it on the device for all of an update
would take the memory that the host's was to save. So what the losses of many micro-batches
ask of a set is asked while it is there, and kept: velocities are small beside weights. A loss is
first called without any network to see whom it asks; each set then answers its own calls, and at
last live's are made, with gradients, and all others answered from what was kept.

That holds for losses that ask each set for places which do not depend on what others say. The first
step of a run, which is made in vain, checks it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zoo.errors import UserError
from zoo.policy.base import Latents, Policy
from zoo.policy.stand_in import WithVelocity
from zoo.rollout import Cond, Weights

T = TypeVar("T")

TOGETHER = 32
"""Micro-batches for which a set moves once, at most."""

KEPT = 256 * 2**20
"""Bytes of what all sets say in them; with the micro-batch that exceeds it, no more are taken.

Of 32 micro-batches of 8 images of SD3.5 Medium a set says 67 MB, and its weights are 10 GB;
`zoo check` passes over it. A video's latents are larger.
"""


def with_lent_weights(
    policy: Policy,
    ask: Callable[[Policy, T], object],
    batches: Iterable[T],
    *,
    checked: bool = False,
) -> Iterator[tuple[Policy, T]]:
    """Each micro-batch with the policy that `ask` is to be called with, once.

    Raises:
        UserError: it is `checked`, which waits for the device, and where a set is asked depends on
            what another has said.
    """
    if policy.weights.copies_on == "device":
        yield from ((policy, batch) for batch in batches)
        return
    coming, networks = iter(batches), policy.weights.module
    while True:
        with torch.no_grad(), networks.lend_nothing():
            few, sets = _together(policy, ask, coming)
        if not few:
            return
        answers = [_Answers(policy) for _ in few]
        for which in sets:
            with torch.no_grad(), networks.lend(which), networks.lend_nothing():
                for answer, batch in zip(answers, few, strict=True):
                    ask(answer.asking(which), batch)
        with networks.lend_nothing():
            for answer, batch in zip(answers, few, strict=True):
                yield answer.answering(), batch
        differs = [each for answer in answers for each in answer.differs]
        if checked and differs and bool(torch.stack(differs).any()):
            raise UserError(
                "where this objective asks its old or reference weights depends on what others of "
                "them say, which weights in the host's memory cannot be asked; write "
                "policy.copies_on: device"
            )


def _together(
    policy: Policy, ask: Callable[[Policy, T], object], coming: Iterator[T]
) -> tuple[list[T], list[Weights]]:
    """The next micro-batches, and the sets other than live that they ask; no network is called."""
    few: list[T] = []
    asked: dict[Weights, int] = defaultdict(int)

    def note(x: Latents, t: Tensor, cond: Cond) -> Latents:
        asked[_active(policy)] += x.nbytes
        return torch.zeros_like(x)

    for batch in islice(coming, TOGETHER):
        few.append(batch)
        ask(WithVelocity(policy, note), batch)
        if sum(asked.values()) - asked[Weights.LIVE] >= KEPT:
            break
    return few, [which for which in asked if which is not Weights.LIVE]


def _active(policy: Policy) -> Weights:
    return policy.weights.module.active


@dataclass(frozen=True)
class _Said:
    """What a set said of some latents, and the rows that it took."""

    place: Float[Tensor, ""]
    """The sum of the latents: they themselves would be as much again as what is kept."""
    velocity: Latents
    num_rows: int


@dataclass
class _Answers:
    """What the sets say in one micro-batch, in the order of its calls."""

    policy: Policy
    said: dict[Weights, list[_Said]] = field(default_factory=lambda: defaultdict(list))
    differs: list[Bool[Tensor, ""]] = field(default_factory=list)
    """Of each answer, whether another was asked for in the end; on the device."""

    def asking(self, which: Weights) -> Policy:
        """Keeps what one set says, and has 0 said for all others. Its rows do not count yet."""
        weights = self.policy.weights

        def velocity(x: Latents, t: Tensor, cond: Cond) -> Latents:
            if _active(self.policy) is not which:
                return torch.zeros_like(x)
            before = weights.num_rows
            found = self.policy.velocity(x, t, cond)
            self.said[which].append(_Said(_place(x, t), found, weights.num_rows - before))
            weights.num_rows = before
            return found

        return WithVelocity(self.policy, velocity)

    def answering(self) -> Policy:
        """Has live asked, and answers for the others."""
        weights = self.policy.weights

        def velocity(x: Latents, t: Tensor, cond: Cond) -> Latents:
            which = _active(self.policy)
            if which is Weights.LIVE:
                return self.policy.velocity(x, t, cond)
            kept = self.said[which].pop(0)
            self.differs.append(kept.place != _place(x, t))
            weights.num_rows += kept.num_rows
            return kept.velocity

        return WithVelocity(self.policy, velocity)


def _place(x: Latents, t: Tensor) -> Float[Tensor, ""]:
    return x.double().sum() + t.double().sum()
