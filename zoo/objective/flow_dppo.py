"""Flow-DPPO: policy gradients that stop where a step's distribution has moved too far.

arXiv 2606.11025. In place of a clip of the ratio, a row is dropped where its transition's mean has
left that of collection by a divergence of more than `threshold`, and only if the update would take
it further.

Departs from the published code, whose deviation at the first step, 1.40, is not the transition's
own, 0.70, so that its divergence there is 4 times too small; here it is the transition's.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from jaxtyping import Bool, Float
from torch import Tensor

from zoo.objective.base import Loss, Probe
from zoo.objective.kl import KL
from zoo.objective.path import PathObjective, PathRows, TimeWeights, Transitions
from zoo.policy.base import Policy
from zoo.sampler.base import Gaussian, Latents, PerRow, StochasticSolver
from zoo.seeds import Draws


def dppo_loss(
    logp: PerRow,
    logp_old: PerRow,
    mean: Latents,
    mean_old: Latents,
    std: Float[Tensor, "..."],
    adv: PerRow,
    *,
    threshold: float,
) -> PerRow:
    """-adv ratio of each row, and 0 without a gradient for those that `goes_too_far` drops."""
    steps = Transitions(logp, logp_old, mean, mean_old, std)
    far = goes_too_far(steps, adv, threshold=threshold)
    return torch.where(far, 0.0, -adv * ratio_of(steps))


def ratio_of(steps: Transitions) -> PerRow:
    """The probability of each step now, over that at collection."""
    return (steps.log_prob - steps.old_log_prob).exp()


def goes_too_far(steps: Transitions, adv: PerRow, *, threshold: float) -> Bool[Tensor, " batch"]:
    """Where the divergence is at least `threshold` and the gradient would make it larger."""
    ratio = ratio_of(steps)
    onwards = ((ratio > 1) & (adv > 0)) | ((ratio < 1) & (adv < 0))
    return (steps.divergence >= threshold) & onwards


class FlowDPPO(PathObjective):
    """Flow-DPPO (arXiv 2606.11025): Flow-GRPO with a bound of the divergence in place of the clip.

    It needs each step's mean at collection, which is kept with the path: twice its memory.
    """

    compares_means = True

    def __init__(
        self,
        solver: StochasticSolver,
        /,
        *,
        threshold: Annotated[float, Gt(0)] = 1e-5,
        kl: KL = KL(weight=0.0),
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        trained_steps: Annotated[int, Ge(1)] | None = None,
        time_weights: TimeWeights = "even",
        recompute_old: bool = False,
    ) -> None:
        """Hyper-parameters; the defaults are the published run's.

        Args:
            solver: the run's own solver, whose transitions are evaluated again.
            threshold: the divergence from which a row is dropped; it scales with the latents' size.
            kl: the distance to the reference, of the steps' means; published without.
            adv_clip: advantages are clipped to this.
            trained_steps: steps of each image, of those that have a density; none: all.
            time_weights: see `flow_grpo`.
            recompute_old: see `flow_grpo`; then the path's means are not kept at collection, but
                those of all updates but the first are while it learns.
        """
        super().__init__(
            solver, kl,
            trained_steps=trained_steps, time_weights=time_weights, recompute_old=recompute_old,
        )  # fmt: skip
        self.threshold, self.adv_clip = threshold, adv_clip

    def surrogate(self, gaussian: Gaussian, log_prob: PerRow, rows: PathRows) -> Loss:
        """The policy gradient of the rows that are kept."""
        steps = self.transitions(gaussian, log_prob, rows)
        adv = rows.advantage.clamp(-self.adv_clip, self.adv_clip)
        per_row = dppo_loss(
            steps.log_prob, steps.old_log_prob, steps.mean, steps.old_mean, steps.std, adv,
            threshold=self.threshold,
        )  # fmt: skip
        with torch.no_grad():
            ratio, far = ratio_of(steps), goes_too_far(steps, adv, threshold=self.threshold)
        return Loss(per_row, {"ratio": ratio, "dropped_fraction": far.float()})

    def probes(self, policy: Policy, rows: PathRows, draws: Draws) -> Sequence[Probe]:
        """Before any update the ratio is 1."""
        return self.ratio_probe(policy, rows, draws, 1e-3)
