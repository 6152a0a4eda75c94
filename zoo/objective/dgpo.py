"""DGPO, direct group preference: a group's good images are preferred over its bad ones, as one.

Luo et al. 2026 (ICLR). Any solver collects. The images of a group share their noise and their
times; what is preferred is the group's weighted sum of advantages times errors relative to the
reference, over all its images, whichever micro-batch they are in: so their errors are measured
before the update.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float, Int
from torch import Tensor

from zoo.devices import send
from zoo.objective.base import Gather, Loss, Probe
from zoo.objective.clean import (
    CleanRows,
    Noised,
    add_noise,
    clean_rows,
    needs_no_gradient,
    square_distance,
    velocity_of,
)
from zoo.objective.kl import KL, HeldObjective
from zoo.objective.old import OldSchedule
from zoo.objective.times import Times
from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import Latents
from zoo.seeds import Draws


def dgpo_loss(
    v: Latents,
    v_ref: Latents,
    v_kl: Latents,
    v_old: Latents,
    x0: Latents,
    noise: Latents,
    adv: Float[Tensor, " batch"],
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
    weight = _group_sum(share, group).sigmoid()
    off = clipped(error, before, adv, clip=clip)
    policy = preferred(error, adv, weight, off if clip_policy else torch.zeros_like(off))
    distance = _without_gradient(square_distance(v, v_kl), off & clip_kl)
    return policy.mean() + kl * distance.mean()


def preferred(
    error: Float[Tensor, " batch"],
    adv: Float[Tensor, " batch"],
    weight: Float[Tensor, " batch"],
    clipped: Tensor,
) -> Float[Tensor, " batch"]:
    """Weight times advantage times error; without a gradient where clipped."""
    return weight.detach() * adv * _without_gradient(error, clipped)


def clipped(
    error: Float[Tensor, " batch"],
    before: Float[Tensor, " batch"],
    adv: Float[Tensor, " batch"],
    *,
    clip: float,
) -> Tensor:
    """Where exp(before - error) has gone further than `clip` in the advantage's direction.

    Above 1 + clip for a positive advantage, below 1 - clip for any other, as published.
    """
    ratio = (before - error).detach().exp()
    return torch.where(adv > 0, ratio > 1 + clip, ratio < 1 - clip)


def _without_gradient(value: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, value.detach(), value)


def _group_sum(value: Float[Tensor, " batch"], group: Int[Tensor, " batch"]) -> Tensor:
    """The sum over each row's group."""
    _, member = torch.unique(group, return_inverse=True)
    sums = value.new_zeros(int(member.max()) + 1 if len(member) else 0)
    return sums.index_add(0, member, value)[member]


@dataclass(frozen=True)
class DGPORows(CleanRows):
    """`preference` is the group's sum, at this noise; 0, as where live is the reference, before."""

    preference: Float[Tensor, " rows"]
    group_size: Float[Tensor, " rows"]


class DGPO(HeldObjective[DGPORows]):
    """DGPO (ICLR 2026): any solver collects, each group is one preference over its images.

    A group is trained in one update. Live collects, and after `switch` updates its average `old`.
    Errors are measured before each update, so a row takes two forwards more than its loss does.
    """

    needs_grid = True
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
        super().__init__(kl)
        self.beta, self.clip_range, self.clip = beta, clip_range, clip
        self.adv_clip, self.prefer_over = adv_clip, prefer_over
        self.old, self.switch = old, switch
        self.trained_steps, self.times = trained_steps, replace(times, draw="shared")
        self.acts_with = Weights.LIVE

    @property
    def moves(self) -> frozenset[Weights]:
        """The average of live."""
        return frozenset({Weights.OLD})

    @property
    def uses(self) -> frozenset[Weights]:
        """What it is held to, and what images are preferred over."""
        return super().uses | (frozenset({self._over}) - self.moves)

    @property
    def _over(self) -> Weights:
        return Weights.OLD if self.prefer_over == "old" else Weights(self.kl.to)

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> DGPORows:
        """Each image at the epoch's times, with the noises of its group."""
        t = self.times.choose(rollout, self.trained_steps, draws)
        rows = clean_rows(rollout, advantage, t, by_group=True, share_noise=True)
        base = {spec.name: getattr(rows, spec.name) for spec in fields(rows)}
        size = _group_sum(torch.ones(len(rollout.key)), rollout.group)
        return DGPORows(
            **base,
            preference=torch.zeros_like(rows.advantage),
            group_size=send(size.repeat_interleave(t.shape[1]), rows.advantage.device),
        )

    def measure(self, policy: Policy, rows: DGPORows, draws: Draws) -> Float[Tensor, " rows"]:
        """Each row's share of its group's sum."""
        at = add_noise(rows, draws)
        error = square_distance(policy.velocity(at.at.x, rows.t, rows.cond), at.target)
        over = square_distance(self._reference(policy, at), at.target)
        return self._advantage(rows) * self.beta * (error - over) / rows.group_size

    def settle(self, rows: DGPORows, measured: Float[Tensor, " rows"], gather: Gather) -> DGPORows:
        """The sums over groups, each of which is on one process."""
        sums = _group_sum(measured.nan_to_num(), rows.place)
        return replace(rows, preference=send(sums, rows.preference.device, rows.preference.dtype))

    def loss(self, policy: Policy, rows: DGPORows, draws: Draws) -> Loss:
        """The preference's share of each row, and the distance to the reference."""
        at = add_noise(rows, draws)
        before = square_distance(velocity_of(policy, at.at, Weights.OLD), at.target)
        live = policy.velocity(at.at.x, rows.t, rows.cond)
        error, adv = square_distance(live, at.target), self._advantage(rows)
        off = clipped(error, before, adv, clip=self.clip_range) & (self.clip != "none")
        loss = Loss(
            preferred(error, adv, rows.preference.sigmoid(), off),
            {"preference": rows.preference, "clip_fraction": off.float()},
        )
        return self.hold(
            loss, policy, at.at,
            lambda other: _without_gradient(
                square_distance(live, other), off & (self.clip == "all")
            ),
            batch=rows.batch, gate=rows.gate, draws=draws,
        )  # fmt: skip

    def _advantage(self, rows: DGPORows) -> Float[Tensor, " rows"]:
        return rows.advantage.clamp(-self.adv_clip, self.adv_clip)

    def _reference(self, policy: Policy, at: Noised) -> Latents:
        guidance = 1.0 if self._over is Weights.OLD else self.guidance
        cond = replace(at.at.cond, guidance=guidance)
        return velocity_of(policy, replace(at.at, cond=cond), self._over)

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
        at = add_noise(rows, draws)
        with torch.no_grad():
            live = policy.velocity(at.at.x, rows.t, rows.cond)

        def loss(v: Latents, advantage: float) -> Float[Tensor, " rows"]:
            error, adv = square_distance(v, at.target), torch.full_like(rows.advantage, advantage)
            return preferred(error, adv, rows.preference.sigmoid(), torch.zeros_like(adv).bool())

        return (needs_no_gradient(live, loss),)
