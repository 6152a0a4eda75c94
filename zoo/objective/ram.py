"""RAM: regression onto the reference's velocity, moved by the advantage.

arXiv 2605.10759, as one reading has it, which nobody has checked against published code: the target
of live's velocity is v_ref + gain A (v* - v_old), with v* the flow-matching target, so an image
that was better than its group pulls the reference's velocity towards itself, and a worse one pushes
it away.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from zoo.flow import over_latent
from zoo.objective.base import Loss, Probe
from zoo.objective.clean import CleanObjective, CleanRows, needs_no_gradient
from zoo.objective.kl import KL, square_distance, starts_at_reference
from zoo.objective.old import OldSchedule
from zoo.objective.times import Times
from zoo.policy.base import Policy
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws


def ram_loss(
    v: Latents,
    v_old: Latents,
    v_ref: Latents,
    x0: Latents,
    noise: Latents,
    adv: PerRow,
    *,
    gain: float,
) -> PerRow:
    """The mean squared distance of `v` to v_ref + gain adv (noise - x0 - v_old), of each row.

    The target has no gradient.
    """
    target = v_ref + over_latent(gain * adv, v) * (noise - x0 - v_old)
    return square_distance(v, target.detach())


class RAM(CleanObjective[CleanRows]):
    """RAM (arXiv 2605.10759): any solver collects, advantages move the regression's target.

    Collects with the old weights, which follow live. No guidance. It is held to the reference by
    its target.
    """

    acts_with = Weights.OLD

    def __init__(
        self,
        *,
        gain: Annotated[float, Gt(0)] = 1.0,
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        old: OldSchedule = OldSchedule(),
        trained_steps: Annotated[int, Ge(1)] | None = None,
        times: Times = Times(),
    ) -> None:
        """Hyper-parameters, of which none are published that could be checked.

        Args:
            gain: how far an advantage of 1 moves the target, as a part of old's error.
            adv_clip: advantages are clipped to this.
            old: how the old weights follow live after each epoch.
            trained_steps: times of each image; none: all that `times` allows.
            times: which of the sampler's.
        """
        super().__init__(KL(weight=0.0), old, trained_steps, times)
        self.gain, self.adv_clip = gain, adv_clip

    @property
    def uses(self) -> frozenset[Weights]:
        """The reference, of which its target is made."""
        return frozenset({Weights.REFERENCE})

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> CleanRows:
        """Each image at `trained_steps` times."""
        return self.at_its_times(rollout, advantage, draws)

    def loss(self, policy: Policy, rows: CleanRows, draws: Draws) -> Loss:
        """The regression of each row."""
        at = rows.with_noise(draws)
        old, reference = (at.velocity(policy, of) for of in (Weights.OLD, Weights.REFERENCE))
        live = at.velocity(policy)
        adv = rows.advantage.clamp(-self.adv_clip, self.adv_clip)
        per_row = ram_loss(live, old, reference, at.clean, at.noise, adv, gain=self.gain)
        gap = square_distance(live.detach(), reference)
        return Loss(per_row, {"kl": gap, "old_gap": square_distance(live.detach(), old)})

    def probes(self, policy: Policy, rows: CleanRows, draws: Draws) -> Sequence[Probe]:
        """At zero advantage there is no gradient, where live is the reference.

        Not so where live starts from a LoRA, and the reference is the base.
        """
        if not starts_at_reference(policy):
            return ()
        at = rows.with_noise(draws)
        old, reference = (at.velocity(policy, of) for of in (Weights.OLD, Weights.REFERENCE))
        with torch.no_grad():
            live = at.velocity(policy)

        def loss(v: Latents, adv: PerRow) -> PerRow:
            return ram_loss(v, old, reference, at.clean, at.noise, adv, gain=self.gain)

        return (needs_no_gradient(live, rows.advantage, loss),)
