"""The distance to a reference, in one form for every objective: see `KL`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from zoo import seeds
from zoo.flow import Time
from zoo.objective.base import Loss, Objective, R
from zoo.policy.base import Policy
from zoo.rollout import Cond, Rows, Weights
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws


@dataclass(frozen=True)
class KL:
    """Holds live to other weights: `weight` times the distance of the two predictions.

    `weight` none is the objective's own. `to` is the reference, or `ema`, the moving average of
    `optim.ema`. `guidance` is that of the other forward, so that live learns to do without it;
    none: as the images are trained. `on` gated are the images that `advantage.gate` chooses.
    `every` n takes the forward on each n-th micro-batch, with n times the weight: as much on
    average, for an n-th of the forwards. Which images these are then depends on the micro-batches,
    and so on their size and the number of processes; with 1 nothing does.
    """

    weight: Annotated[float, Ge(0)] | None = None
    to: Literal["reference", "ema"] = "reference"
    guidance: Annotated[float, Ge(0)] | None = None
    on: Literal["all", "gated"] = "all"
    every: Annotated[int, Ge(1)] = 1


@dataclass(frozen=True)
class Point:
    """Where a velocity is asked for."""

    x: Latents
    t: Time
    cond: Cond

    def velocity(self, policy: Policy, which: Weights = Weights.LIVE) -> Latents:
        """Of a set of weights; without gradients but of live."""
        if which is Weights.LIVE:
            return policy.velocity(self.x, torch.as_tensor(self.t), self.cond)
        with torch.no_grad(), policy.weights.using(which):
            return policy.velocity(self.x, torch.as_tensor(self.t), self.cond)


@dataclass(frozen=True)
class HeldRows(Rows):
    """Rows of an objective that is held: each at its time; `gate` is for `on: gated`."""

    cond: Cond
    t: Float[Tensor, " rows"]
    gate: Float[Tensor, " rows"] | None


class HeldObjective(Objective[R]):
    """An objective whose loss has a distance to a reference, where that has weight."""

    def __init__(self, kl: KL, weight: float = 0.0) -> None:
        """`weight` is the one that counts where `kl` says none."""
        self.kl = kl
        self.kl_weight = weight if kl.weight is None else kl.weight
        self.period = kl.every if self.kl_weight > 0 else 1
        self.guidance = 1.0 if kl.guidance is None or self.kl_weight == 0 else kl.guidance

    @property
    def uses(self) -> frozenset[Weights]:
        """What it is held to, where the distance has weight."""
        return frozenset({Weights(self.kl.to)}) if self.kl_weight > 0 else frozenset()

    def hold(
        self,
        loss: Loss,
        policy: Policy,
        at: Point,
        distance: Callable[[Latents], PerRow],
        rows: HeldRows,
        draws: Draws,
    ) -> Loss:
        """The loss with the distance's share, which is recorded as `kl`.

        `distance` is of the other weights' velocity to live's, by row. Outside a run's
        micro-batches (`rows.batch` none) the forward is always taken.

        Raises:
            ValueError: it is on gated images, and nothing says which these are.
        """
        if self.kl_weight == 0:
            return loss
        times = self._times(rows.batch, draws)
        if not times:
            return Loss(
                loss.per_row, {**loss.metrics, "kl": torch.zeros_like(loss.per_row).detach()}
            )
        cond = at.cond if self.kl.guidance is None else replace(at.cond, guidance=self.kl.guidance)
        kl = distance(replace(at, cond=cond).velocity(policy, Weights(self.kl.to)))
        if self.kl.on == "gated":
            if rows.gate is None:
                raise ValueError("kl is on: gated, and no image has a gate; write advantage.gate")
            kl = rows.gate * kl
        metrics = {**loss.metrics, "kl": times * kl.detach()}
        return Loss(loss.per_row + times * self.kl_weight * kl, metrics)

    def _times(self, batch: int | None, draws: Draws) -> int:
        """How many times its weight the distance has in a micro-batch: `every` or 0."""
        every = self.kl.every
        if batch is None or every == 1:
            return 1
        # Which of them begins is drawn anew each epoch, so that each is as likely as any other.
        first = int(seeds.order(every, seed=draws.seed, purpose="kl", epoch=draws.epoch)[0])
        return every if batch % every == first else 0


def square_distance(v: Latents, other: Latents) -> PerRow:
    """The mean squared difference of each row."""
    return (v - other).square().flatten(1).mean(1)


def starts_at_reference(policy: Policy) -> bool:
    """Whether live starts as the model as pre-trained, and not from a LoRA's file."""
    return policy.weights.lora is None or policy.weights.lora.start is None
