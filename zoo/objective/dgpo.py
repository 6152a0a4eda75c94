"""DGPO, direct group preference: a group's good images are preferred over its bad ones, as one.

Luo et al. 2026 (ICLR). Any solver collects. The images of a group share their noise and their
times; what is preferred is the group's weighted sum of advantages times errors relative to the
reference, over all its images, whichever micro-batch they are in: so their errors are measured
before the update.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float, Int
from torch import Tensor

from zoo.devices import send
from zoo.objective.base import Gather, Loss, Probe
from zoo.objective.clean import (
    CleanObjective,
    CleanRows,
    Noised,
    needs_no_gradient,
    sum_by,
)
from zoo.objective.kl import KL, square_distance
from zoo.objective.old import OldSchedule
from zoo.objective.times import Times
from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws


def dgpo_loss(
    v: Latents,
    v_ref: Latents,
    v_kl: Latents,
    v_old: Latents,
    x0: Latents,
    noise: Latents,
    adv: PerRow,
    group: Int[Tensor, " batch"],
    *,
    beta: float,
    group_size: int,
    kl: float,
    clip: float,
    clip_policy: bool,
    clip_kl: bool,
) -> Float[Tensor, ""]:
    """The mean over rows of `preferred` with each group's weight, and `kl` times a distance.

    With d and r the errors of `v` and `v_ref`: the weight of a group is sigmoid(sum of adv beta
    (d - r) / group_size), without gradient. The distance is the squared one of `v` and `v_kl`,
    which with `clip_kl` has no gradient where `clipped`.
    """
    target = noise - x0
    error, before = square_distance(v, target), square_distance(v_old, target)
    share = adv * beta * (error.detach() - square_distance(v_ref, target)) / group_size
    weight = sum_by(group, share).sigmoid()
    off = clipped(error, before, adv, clip=clip)
    policy = preferred(error, adv, weight, off if clip_policy else torch.zeros_like(off))
    distance = _without_gradient(square_distance(v, v_kl), off & clip_kl)
    return policy.mean() + kl * distance.mean()


def preferred(error: PerRow, adv: PerRow, weight: PerRow, clipped: Tensor) -> PerRow:
    """Weight times advantage times error; without a gradient where clipped."""
    return weight.detach() * adv * _without_gradient(error, clipped)


def clipped(error: PerRow, before: PerRow, adv: PerRow, *, clip: float) -> Tensor:
    """Where exp(before - error) has gone further than `clip` in the advantage's direction.

    Above 1 + clip for a positive advantage, below 1 - clip for any other, as published.
    """
    ratio = (before - error).detach().exp()
    return torch.where(adv > 0, ratio > 1 + clip, ratio < 1 - clip)


def _without_gradient(value: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, value.detach(), value)


@dataclass(frozen=True)
class DGPORows(CleanRows):
    """`preference` is the group's sum, at this noise; 0, as where live is the reference, before."""

    preference: Float[Tensor, " rows"]
    group_size: Float[Tensor, " rows"]


class DGPO(CleanObjective[DGPORows]):
    """DGPO (ICLR 2026): any solver collects, each group is one preference over its images.

    A group is trained in one update. Live collects, and after `switch` updates its average `old`.
    Errors are measured before each update, so a row takes two forwards more than its loss does.
    """

    whole_groups = True
    looks_ahead = True

    def __init__(
        self,
        *,
        beta: Annotated[float, Gt(0)] = 100.0,
        clip_range: Annotated[float, Gt(0)] = 0.01,
        clip: Literal["none", "policy", "all"] = "policy",
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        prefer_over: Literal["reference", "old"] = "reference",
        kl: KL = KL(weight=0.02),
        old: OldSchedule = OldSchedule(flat=0, rate=0.001, cap=0.3),
        switch: Annotated[int, Ge(0)] = 200,
        trained_steps: Annotated[int, Ge(1)] | None = None,
        times: Times = Times(part=0.7, draw="shared"),
    ) -> None:
        """Hyper-parameters; the defaults are the published run's of 10 sampling steps.

        Args:
            beta: strength of the preference; 2000 to 5000 over `old`.
            clip_range: how far the likelihood's ratio to `old` may go before a row has no gradient;
                published 1e-2, and 1e-5 or 1e-3 without guidance.
            clip: what has none then: nothing, the preference's, or the distance's too.
            adv_clip: advantages are clipped to this.
            prefer_over: what errors are relative to: the weights of `kl`, with its guidance, or the
                average `old`.
            kl: the distance to the reference, of velocities; `guidance: 4.5` distils it.
            old: how the average of live follows it after each update.
            switch: updates after which `old` collects; published 200, and 500 for GenEval.
            trained_steps: times of each epoch, published 4; none: all that `times` allows.
            times: which of the sampler's; the same for all images.
        """
        super().__init__(kl, old, trained_steps, replace(times, draw="shared"))
        self.beta, self.clip_range, self.clip = beta, clip_range, clip
        self.adv_clip, self.prefer_over, self.switch = adv_clip, prefer_over, switch
        self.acts_with = Weights.LIVE
        if kl.guidance is not None and self._over is not Weights.OLD:
            # Also where the distance has no weight: it is what images are preferred over.
            self.guidance = kl.guidance

    @property
    def uses(self) -> frozenset[Weights]:
        """What it is held to, and what images are preferred over."""
        return super().uses | (frozenset({self._over}) - self.moves)

    @property
    def _over(self) -> Weights:
        return Weights.OLD if self.prefer_over == "old" else Weights(self.kl.to)

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> DGPORows:
        """Each image at the epoch's times, with the noises of its group."""
        rows = self.at_its_times(rollout, advantage, draws, by_group=True, share_noise=True)
        size = sum_by(rollout.group, torch.ones(len(rollout.key)))
        count = len(rows.key) // max(1, len(size))  # a process may have no images
        return DGPORows(
            **rows.columns(),
            preference=torch.zeros_like(rows.advantage),
            group_size=send(size.repeat_interleave(count), rows.advantage.device),
        )

    def measure(self, policy: Policy, rows: DGPORows, draws: Draws) -> PerRow:
        """Each row's share of its group's sum."""
        at = rows.with_noise(draws)
        error, over = at.error(at.velocity(policy)), at.error(self._reference(policy, at))
        return self._advantage(rows) * self.beta * (error - over) / rows.group_size

    def settle(self, rows: DGPORows, measured: PerRow, gather: Gather) -> DGPORows:
        """The sums over groups, each of which is on one process."""
        sums = sum_by(rows.place, measured.nan_to_num())
        return replace(rows, preference=send(sums, rows.preference.device, rows.preference.dtype))

    def loss(self, policy: Policy, rows: DGPORows, draws: Draws) -> Loss:
        """The preference's share of each row, and the distance to the reference."""
        at, adv = rows.with_noise(draws), self._advantage(rows)
        clips = self.clip != "none"
        before = at.error(at.velocity(policy, Weights.OLD)) if clips else None
        live = at.velocity(policy)
        error = at.error(live)
        off = torch.zeros_like(adv, dtype=torch.bool)
        if before is not None:
            off = clipped(error, before, adv, clip=self.clip_range)
        loss = Loss(
            preferred(error, adv, rows.preference.sigmoid(), off),
            {"preference": rows.preference, "clip_fraction": off.float()},
        )

        def distance(other: Latents) -> PerRow:
            return _without_gradient(square_distance(live, other), off & (self.clip == "all"))

        return self.hold(loss, policy, at, distance, rows, draws)

    def _advantage(self, rows: DGPORows) -> PerRow:
        return rows.advantage.clamp(-self.adv_clip, self.adv_clip)

    def _reference(self, policy: Policy, at: Noised) -> Latents:
        guidance = 1.0 if self._over is Weights.OLD else self.guidance
        cond = replace(at.cond, guidance=guidance)
        return replace(at, cond=cond).velocity(policy, self._over)

    def after_epoch(self, weights: WeightSets, step: int) -> None:
        """Nothing: the average follows live after each update."""

    def after_update(self, weights: WeightSets, step: int) -> None:
        """The average follows live, and collects in the end."""
        weights.blend(Weights.OLD, self.old.at(step))
        if step > self.switch:
            self.acts_with = Weights.OLD

    def state(self) -> dict[str, Any]:
        """The set that collects."""
        return {"acts_with": self.acts_with.value}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` gave."""
        self.acts_with = Weights(state["acts_with"])

    def probes(self, policy: Policy, rows: DGPORows, draws: Draws) -> Sequence[Probe]:
        """At zero advantage the preference has no gradient."""
        at = rows.with_noise(draws)
        with torch.no_grad():
            live = at.velocity(policy)

        def loss(v: Latents, adv: PerRow) -> PerRow:
            none = torch.zeros_like(adv).bool()
            return preferred(at.error(v), adv, rows.preference.sigmoid(), none)

        return (needs_no_gradient(live, rows.advantage, loss),)
