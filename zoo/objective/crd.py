"""CRD, centred reward distillation: the model's implicit reward is fitted to the reward.

arXiv 2603.14128. An image's implicit reward is by how much live fits it better than old does; of
that, and of its optimality, the weighted mean of its group is taken away, and the two are matched.
Live is held to the reference with guidance, more so where an image was good: good images are also
good guidance's.

A third set of weights, which for the first 75 updates is live and then lags, collects.

Departs from the published code. It centres over a gathered micro-batch, which should be of one
prompt; here over the group, at the same draw of noise. At weight_temp 0 it means to split images at
advantage 0 but splits optimalities, which are in [0, 1], there; here the split is at 1/2, and
`split` 0 is theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from jaxtyping import Float, Int
from torch import Tensor

from zoo.devices import send
from zoo.flow import over_latent
from zoo.objective.base import Gather, Loss, Probe
from zoo.objective.clean import CleanObjective, CleanRows, Noised, sum_by
from zoo.objective.kl import KL, square_distance
from zoo.objective.old import OldSchedule
from zoo.objective.times import Times
from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws

Kind = Literal["mse", "bce"]
PerCentre = Float[Tensor, "batch centres"]
"""Numbers for each row: one of each centre of its group."""

_LEAST_KL = 1e-4
"""What holds the worst image, of the published code."""


def crd_loss(
    v: Latents,
    v_old: Latents,
    x0: Latents,
    noise: Latents,
    adv: PerRow,
    *,
    beta: float,
    weight_temp: float,
    kind: Kind,
    adaptive: bool,
    adv_clip: float,
    split: float = 0.5,
) -> Float[Tensor, ""]:
    """The mean loss of a batch that is one group, with its factor adv_clip / beta."""
    good = (adv.clamp(-adv_clip, adv_clip) / adv_clip / 2 + 0.5).clamp(0, 1)
    implicit = implicit_reward(v, v_old, x0, noise, adaptive=adaptive)
    weights = centre_weights(good, weight_temp=weight_temp, split=split)
    centre = (weights * implicit.detach()[:, None]).sum(0).expand(len(v), -1)
    target = good[:, None] - (weights * good[:, None]).sum(0)
    return adv_clip / beta * distilled(implicit, centre, target, beta=beta, kind=kind).mean()


def implicit_reward(
    v: Latents, v_old: Latents, x0: Latents, noise: Latents, *, adaptive: bool
) -> PerRow:
    """By how much `v` fits each image better than `v_old` does.

    `adaptive` divides each squared error by its mean absolute one (at least 1e-5, in float64).
    """

    def error(velocity: Latents) -> PerRow:
        off = velocity - (noise - x0)
        if not adaptive:
            return off.square().flatten(1).mean(1)
        size = off.detach().double().abs().flatten(1).mean(1).clamp(min=1e-5)
        return (off.square() / over_latent(size, off)).flatten(1).mean(1)

    return error(v_old).detach() - error(v)


def centre_weights(optimality: PerRow, *, weight_temp: float, split: float = 0.5) -> PerCentre:
    """The weights of a group's images in its centres; each centre's sum to 1.

    One centre, of even weights, where `weight_temp` is negative. Else two: of the better images,
    softmax(optimality / weight_temp), and of the worse ones, softmax(-optimality / weight_temp). At
    0 they are softmax(optimality) of those above `split` and of those below; even where none is.
    """
    even = torch.full_like(optimality, 1 / max(1, len(optimality)))
    if weight_temp < 0:
        return even[:, None]
    if weight_temp > 0:
        better, worse = (torch.softmax(sign * optimality / weight_temp, 0) for sign in (1, -1))
        return torch.stack([better, worse], 1)

    def among(chosen: Tensor) -> PerRow:
        masked = optimality.masked_fill(~chosen, -torch.inf)
        return torch.softmax(masked, 0) if bool(chosen.any()) else even

    return torch.stack([among(optimality > split), among(optimality < split)], 1)


def distilled(
    implicit: PerRow, centre: PerCentre, target: PerCentre, *, beta: float, kind: Kind
) -> PerRow:
    """How far beta (implicit - centre) is from the target, the mean over centres.

    `mse` squares the difference; `bce` is the cross entropy of its sigmoid to the target's.
    """
    found = beta * (implicit[:, None] - centre)
    if kind == "mse":
        return (found - target).square().mean(1)
    if kind != "bce":
        raise ValueError(f"kind is 'mse' or 'bce', not {kind!r}")
    return F.binary_cross_entropy_with_logits(found, target.sigmoid(), reduction="none").mean(1)


def crd_kl(v: Latents, v_ref: Latents, optimality: PerRow, *, kl: float, adaptive: bool) -> PerRow:
    """`kl` times the squared distance of the velocities.

    `adaptive` has it grow with the optimality, from 1e-4 at 0 to `kl` at 1.
    """
    distance = square_distance(v, v_ref)
    if not adaptive:
        return kl * distance
    return (_LEAST_KL + (kl - _LEAST_KL) * optimality) * distance


@dataclass(frozen=True)
class CRDRows(CleanRows):
    """`centre` is that of the group's implicit rewards: 0, as where live is old, until measured.

    `share` are a row's weights in the centres, and `target` its optimality less theirs.
    """

    optimality: Float[Tensor, " rows"]
    share: Float[Tensor, "rows centres"]
    target: Float[Tensor, "rows centres"]
    centre: Float[Tensor, "rows centres"]


class CRD(CleanObjective[CRDRows]):
    """CRD (arXiv 2603.14128): any solver collects, an implicit reward is fitted to the reward.

    A group is trained in one update. Implicit rewards are measured before each update, so a row
    takes two forwards more than its loss does. The reference is guided: live learns to do without.
    """

    whole_groups = True
    looks_ahead = True

    def __init__(
        self,
        *,
        beta: Annotated[float, Gt(0)] = 1.0,
        weight_temp: float = -1.0,
        split: Annotated[float, Ge(0), Le(1)] = 0.5,
        kind: Kind = "mse",
        adaptive: bool = True,
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        kl: KL = KL(weight=0.1, guidance=4.5),
        adaptive_kl: bool = True,
        old: OldSchedule = OldSchedule(flat=0, rate=0.005, cap=0.999, first=0.25),
        sampling: OldSchedule = OldSchedule(flat=75, rate=0.0075, cap=0.999),
        collect_with: Literal["sampling", "live", "old", "ema"] = "sampling",
        trained_steps: Annotated[int, Ge(1)] | None = None,
        times: Times = Times(),
    ) -> None:
        """Hyper-parameters; the defaults are the published ones but for those named above.

        Args:
            beta: scale of the implicit reward.
            weight_temp: of the centres: negative takes the mean, 0 the better and the worse images,
                a temperature all of them by their optimality.
            split: at weight_temp 0, the optimality that parts better from worse images.
            kind: squared difference or cross entropy.
            adaptive: whether errors are divided by their own size.
            adv_clip: the advantage that counts as certain.
            kl: the distance to the reference, of velocities.
            adaptive_kl: whether that holds good images more than bad ones.
            old: how old follows live after each epoch.
            sampling: how the weights that collect follow live after each epoch.
            collect_with: the weights that collect; `ema` is that of `optim.ema`. Without `sampling`
                a set of weights less is held.
            trained_steps: times of each image; none: all that `times` allows.
            times: which of the sampler's.
        """
        super().__init__(kl, old, trained_steps, times)
        self.beta, self.weight_temp, self.split = beta, weight_temp, split
        self.kind: Kind = kind
        self.adaptive, self.adv_clip, self.adaptive_kl = adaptive, adv_clip, adaptive_kl
        self.sampling = sampling
        self.acts_with = Weights(collect_with)

    @property
    def moves(self) -> frozenset[Weights]:
        """Old follows live, and so do the weights that collect where they are of their own."""
        return super().moves | (frozenset({self.acts_with}) & {Weights.SAMPLING})

    @property
    def uses(self) -> frozenset[Weights]:
        """What it is held to, and the moving average where that collects."""
        return super().uses | (frozenset({self.acts_with}) & {Weights.EMA})

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> CRDRows:
        """Each image at `trained_steps` times."""
        rows = self.at_its_times(rollout, advantage, draws, by_group=True)
        good = (advantage.clamp(-self.adv_clip, self.adv_clip) / self.adv_clip / 2 + 0.5).clamp(
            0, 1
        )
        share = self._shares(good, rollout.group)
        of_group = sum_by(rollout.group, share * good.nan_to_num()[:, None])
        target = good.nan_to_num()[:, None] - of_group
        image = torch.arange(len(good)).repeat_interleave(len(rows.key) // max(1, len(good)))
        like, at = rows.advantage, send(target[image].float(), rows.advantage.device)
        return CRDRows(
            **rows.columns(),
            optimality=send(good.nan_to_num()[image], like.device, like.dtype),
            share=send(share[image], like.device, like.dtype),
            target=at,
            centre=torch.zeros_like(at),
        )

    def _shares(
        self, good: Float[Tensor, " images"], group: Int[Tensor, " images"]
    ) -> Float[Tensor, "images centres"]:
        """Each image's weights in its group's centres; invalid ones have none."""
        out = good.new_zeros(len(good), 1 if self.weight_temp < 0 else 2)
        for number in torch.unique(group).tolist():
            member = ((group == number) & ~good.isnan()).nonzero()[:, 0]
            out[member] = centre_weights(
                good[member], weight_temp=self.weight_temp, split=self.split
            )
        return out

    def measure(self, policy: Policy, rows: CRDRows, draws: Draws) -> PerRow:
        """Each row's implicit reward."""
        return self._implicit(policy, rows.with_noise(draws))[0]

    def settle(self, rows: CRDRows, measured: PerRow, gather: Gather) -> CRDRows:
        """The centres of each group, which is on one process, by draw of noise."""
        sums = sum_by(rows.place, rows.share.double().cpu() * measured.nan_to_num()[:, None])
        return replace(rows, centre=send(sums, rows.centre.device, rows.centre.dtype))

    def _implicit(self, policy: Policy, at: Noised) -> tuple[PerRow, Latents, Latents]:
        """With live's velocity, and old's."""
        old = at.velocity(policy, Weights.OLD)
        live = at.velocity(policy)
        return implicit_reward(live, old, at.clean, at.noise, adaptive=self.adaptive), live, old

    def loss(self, policy: Policy, rows: CRDRows, draws: Draws) -> Loss:
        """The distillation's loss, and the distance to the reference."""
        at = rows.with_noise(draws)
        implicit, live, old = self._implicit(policy, at)
        off = distilled(implicit, rows.centre, rows.target, beta=self.beta, kind=self.kind)
        metrics = {"implicit": implicit.detach(), "old_gap": square_distance(live.detach(), old)}

        def distance(other: Latents) -> PerRow:
            kl = self.kl_weight
            return crd_kl(live, other, rows.optimality, kl=kl, adaptive=self.adaptive_kl) / kl

        loss = Loss(self.adv_clip / self.beta * off, metrics)
        return self.hold(loss, policy, at, distance, rows, draws)

    def after_epoch(self, weights: WeightSets, step: int) -> None:
        """Old moves towards live, each set at its pace."""
        super().after_epoch(weights, step)
        if self.acts_with is Weights.SAMPLING:
            weights.blend(Weights.SAMPLING, self.sampling.at(step))

    def probes(self, policy: Policy, rows: CRDRows, draws: Draws) -> Sequence[Probe]:
        """Live is old: implicit rewards are 0, and the rewards of a group are centred."""
        with torch.no_grad():
            implicit = self.measure(policy, rows, draws)
        return (Probe("implicit reward", float(implicit.abs().max()), 0.0, 1e-4),)
