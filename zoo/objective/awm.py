"""AWM, advantage weighted matching: policy gradients whose likelihood is the flow-matching loss.

Xue et al. 2025 (arXiv 2509.25050). Live collects with any solver; a step's log-probability is less
a weighted flow-matching error at the clean image, and PPO's clipped surrogate maximises it by the
advantage. Live is held to the reference and to a slow average of itself.

As published the likelihood at collection is live's own, without gradient, so the ratio is 1 and
the clip idle; several updates an epoch are the same regression on images that live left behind.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal, get_args

import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float
from torch import Tensor

from zoo.objective.base import Loss, Probe
from zoo.objective.clean import CleanObjective, CleanRows, Noised, needs_no_gradient
from zoo.objective.kl import KL, square_distance
from zoo.objective.old import OldSchedule
from zoo.objective.ppo import clipped_loss
from zoo.objective.times import Times
from zoo.policy.base import Policy
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws

Weighting = Literal["ghuber", "huber", "uniform", "t", "t**2"]

_SMALL = 1e-10
"""Of the published code: keeps the roots' gradients finite."""


def awm_loss(
    v: Latents,
    v_old: Latents,
    x0: Latents,
    noise: Latents,
    t: PerRow,
    adv: PerRow,
    *,
    weighting: Weighting,
    power: float,
    clip: float,
    adv_clip: float,
    advantage_max: float,
) -> PerRow:
    """max(-a ratio, -a clip(ratio, 1 - clip, 1 + clip)), in float64, of each row.

    The ratio is exp(log-likelihood of `v` less that of `v_old`, which has no gradient); the
    log-likelihood is less `matching_error`. a is `adv` within +-adv_clip, scaled to
    +-advantage_max.
    """
    error = matching_error(v, x0, noise, t, weighting=weighting, power=power)
    with torch.no_grad():
        old = matching_error(v_old, x0, noise, t, weighting=weighting, power=power)
    a = adv.double().clamp(-adv_clip, adv_clip) / adv_clip * advantage_max
    return clipped_loss((old - error).exp(), a, clip=clip)


def matching_error(
    v: Latents, x0: Latents, noise: Latents, t: PerRow, *, weighting: Weighting, power: float
) -> PerRow:
    """The flow-matching error e of each row as `weighting` has it, in float64.

    `uniform` e; `t` t e; `t**2` t^2 e; `huber` t sqrt(e), `ghuber` t / power e^power, both of e
    a little above 0 and less their value there.
    """
    e, t = square_distance(v.double(), (noise - x0).double()), t.double()
    if weighting == "uniform":
        return e
    if weighting == "t":
        return t * e
    if weighting == "t**2":
        return t.square() * e
    if weighting == "huber":
        root: Tensor = (e + _SMALL).sqrt() - _SMALL**0.5
        return t * root
    if weighting == "ghuber":
        powered: Tensor = (e + _SMALL).pow(power) - _SMALL**power
        return t / power * powered
    raise ValueError(f"weighting is one of {', '.join(get_args(Weighting))}, not {weighting!r}")


class AWM(CleanObjective[CleanRows]):
    """AWM (arXiv 2509.25050): any solver collects, advantages weigh a flow-matching likelihood.

    Live collects. `old` is an average of live that holds it back, by `ema_kl`. No guidance.
    """

    def __init__(
        self,
        *,
        weighting: Weighting = "ghuber",
        power: Annotated[float, Gt(0), Le(1)] = 0.25,
        clip_range: Annotated[float, Gt(0)] = 1.0,
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        advantage_max: Annotated[float, Gt(0)] = 1.0,
        kl: KL = KL(weight=0.003),
        ema_kl: Annotated[float, Ge(0)] = 1.0,
        old: OldSchedule = OldSchedule(flat=0, rate=0.001, cap=0.3),
        trained_steps: Annotated[int, Ge(1)] | None = None,
        times: Times = Times(part=0.85, skip=1, draw="strata"),
    ) -> None:
        """Hyper-parameters; the defaults are the published GenEval run's of 14 sampling steps.

        Args:
            weighting: which error stands for the likelihood.
            power: of `ghuber`.
            clip_range: how far the ratio may leave 1; idle as long as the ratio is 1.
            adv_clip: the advantage that counts as `advantage_max`.
            advantage_max: what the largest advantage is scaled to.
            kl: the distance to the reference, of velocities; published 0.003, PickScore 1e-4.
            ema_kl: weight of the squared velocity distance to `old`; 0 skips it.
            old: how `old`, the average of live, follows after each epoch.
            trained_steps: times of each image, published 6; none: all that `times` allows.
            times: which of the sampler's; 1 to 11 of 14 steps as published.
        """
        super().__init__(kl, old, trained_steps, times)
        self.weighting: Weighting = weighting
        self.power, self.clip_range = power, clip_range
        self.adv_clip, self.advantage_max = adv_clip, advantage_max
        self.ema_kl = ema_kl

    @property
    def moves(self) -> frozenset[Weights]:
        """The average of live, where it holds live back."""
        return super().moves if self.ema_kl else frozenset()

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> CleanRows:
        """Each image at `trained_steps` times."""
        return self.at_its_times(rollout, advantage, draws)

    def loss(self, policy: Policy, rows: CleanRows, draws: Draws) -> Loss:
        """The surrogate, and the distances to the reference and to the average."""
        at = rows.with_noise(draws)
        live = at.velocity(policy)
        per_row = self._surrogate(live, live.detach(), at, rows.advantage)
        metrics = {"matching_error": at.error(live.detach())}
        if self.ema_kl:
            gap = square_distance(live, at.velocity(policy, Weights.OLD))
            per_row, metrics["old_gap"] = per_row + self.ema_kl * gap, gap.detach()
        loss = Loss(per_row, metrics)
        return self.hold(loss, policy, at, partial(square_distance, live), rows, draws)

    def _surrogate(self, v: Latents, v_old: Latents, at: Noised, adv: PerRow) -> PerRow:
        loss = awm_loss(
            v, v_old, at.clean, at.noise, at.t, adv,
            weighting=self.weighting, power=self.power, clip=self.clip_range,
            adv_clip=self.adv_clip, advantage_max=self.advantage_max,
        )  # fmt: skip
        return loss.to(v.dtype)

    def probes(self, policy: Policy, rows: CleanRows, draws: Draws) -> Sequence[Probe]:
        """At zero advantage the surrogate has no gradient."""
        at = rows.with_noise(draws)
        with torch.no_grad():
            live = at.velocity(policy)

        def loss(v: Latents, adv: PerRow) -> PerRow:
            return self._surrogate(v, live, at, adv)

        return (needs_no_gradient(live, rows.advantage, loss),)
