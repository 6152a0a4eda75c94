"""GRPO-Guard: Flow-GRPO with a ratio that is centred, and of one scale at every step.

Wang et al. 2025 (arXiv 2510.22319). The mean log-ratio of a step is not 0 but below, by how far
its mean has moved: that is added back, and what is left, which is linear in the step's noise, is
scaled by the step's deviation. The clip then acts alike at every step and on both sides; the
gradient of a step is divided by its length.

The mean and the deviation are each row's own. Flow-GRPO's code averages the correction over the
whole batch, and others' the deviation.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from zoo.objective.base import Loss, Probe
from zoo.objective.kl import KL
from zoo.objective.path import PathObjective, PathRows, TimeWeights, Transitions, by_row
from zoo.objective.ppo import clipped_loss, recorded
from zoo.policy.base import Policy
from zoo.sampler.base import Gaussian, Latents, PerRow, StochasticSolver
from zoo.seeds import Draws


def guard_loss(
    logp: PerRow,
    logp_old: PerRow,
    mean: Latents,
    mean_old: Latents,
    std: Float[Tensor, "..."],
    dt: Float[Tensor, "..."],
    adv: PerRow,
    *,
    clip: float,
    adv_clip: float,
) -> PerRow:
    """PPO's surrogate of `guard_ratio`, divided by the step's length -dt, of each row.

    `std` is the step's deviation and `dt` its length, below 0: numbers a row, which may have the
    latents' axes, or for all rows; `adv` is clipped to +-adv_clip.
    """
    ratio = guard_ratio(Transitions(logp, logp_old, mean, mean_old, std))
    a = adv.clamp(-adv_clip, adv_clip)
    return clipped_loss(ratio, a, clip=clip) / -by_row(dt, len(a))


def guard_ratio(steps: Transitions) -> PerRow:
    """exp((log p - log p_old + mean over axes (mean - mean_old)^2 / (2 std^2)) std)."""
    centred = steps.log_prob - steps.old_log_prob + steps.divergence
    return (centred * steps.std_of_row).exp()


class GRPOGuard(PathObjective):
    """GRPO-Guard (arXiv 2510.22319): Flow-GRPO with a centred ratio of one scale at every step.

    It needs each step's mean at collection, which is kept with the path: twice its memory. The
    solver must have a Gaussian density, as all have but `cps`.
    """

    compares_means = True

    def __init__(
        self,
        solver: StochasticSolver,
        /,
        *,
        clip_range: Annotated[float, Gt(0)] = 2e-6,
        kl: KL = KL(weight=0.0),
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        trained_steps: Annotated[int, Ge(1)] | None = None,
        time_weights: TimeWeights = "even",
        recompute_old: bool = False,
    ) -> None:
        """Hyper-parameters; the defaults are the published GenEval run's.

        Args:
            solver: the run's own solver, whose transitions are evaluated again.
            clip_range: how far the ratio may leave 1; published 2e-6, 4e-6 for PickScore. It scales
                with the latents' size.
            kl: the distance to the reference, of the steps' means; published without.
            adv_clip: advantages are clipped to this.
            trained_steps: steps of each image, of those that have a density; none: all.
            time_weights: see `flow_grpo`.
            recompute_old: see `flow_grpo`; then the path's means are not kept at collection, but
                those of all updates but the first are while it learns.

        Raises:
            ValueError: the solver's log-probability is not that of a Gaussian.
        """
        if not solver.normalised:
            raise ValueError(
                "the ratio is centred as a Gaussian's is, and the solver's log-probability, as "
                "that of cps, is not one; write another, such as {name: flow_sde}"
            )
        super().__init__(
            solver, kl,
            trained_steps=trained_steps, time_weights=time_weights, recompute_old=recompute_old,
        )  # fmt: skip
        self.clip_range, self.adv_clip = clip_range, adv_clip

    def surrogate(self, gaussian: Gaussian, log_prob: PerRow, rows: PathRows) -> Loss:
        """PPO's, of the centred ratio."""
        steps = self.transitions(gaussian, log_prob, rows)
        per_row = guard_loss(
            steps.log_prob, steps.old_log_prob, steps.mean, steps.old_mean, steps.std,
            rows.s - rows.t, rows.advantage, clip=self.clip_range, adv_clip=self.adv_clip,
        )  # fmt: skip
        with torch.no_grad():
            ratio = guard_ratio(steps)
        return recorded(per_row, ratio, clip=self.clip_range)

    def probes(self, policy: Policy, rows: PathRows, draws: Draws) -> Sequence[Probe]:
        """Before any update the centred ratio is 1."""
        return self.ratio_probe(policy, rows, draws, 1e-4)
