"""Flow-GRPO: policy gradients over a stochastic sampler's steps.

Liu et al. 2025 (arXiv 2505.05470). Collects with live and a stochastic solver, keeps the path and
each step's log-probability, and maximises PPO's clipped surrogate of the advantage (eq. 4), with a
KL term to the reference.

The log-probability is the mean over latent axes, as published, so `clip_range` depends on the
latents' size: 1e-4 suits SD3's 65,536 dimensions, 3e-3 the digits' 64. The KL divides by sigma_t^2,
as the published code does.
"""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Gt

from zoo.objective.base import Loss, Probe
from zoo.objective.kl import KL
from zoo.objective.path import PathObjective, PathRows, TimeWeights
from zoo.objective.ppo import clipped_loss, recorded
from zoo.policy.base import Policy
from zoo.sampler.base import Gaussian, PerRow, StochasticSolver
from zoo.seeds import Draws


def clipped_surrogate(
    log_prob: PerRow,
    old_log_prob: PerRow,
    advantage: PerRow,
    *,
    clip_range: float,
    adv_clip: float = 5.0,
) -> PerRow:
    """max(-a ratio, -a clip(ratio, 1 - clip_range, 1 + clip_range)), a clipped to +-adv_clip."""
    ratio = (log_prob - old_log_prob).exp()
    return clipped_loss(ratio, advantage.clamp(-adv_clip, adv_clip), clip=clip_range)


class FlowGRPO(PathObjective):
    """Flow-GRPO (arXiv 2505.05470): a clipped policy gradient on the steps of a stochastic solver.

    Images of advantage exactly 0 (all of a group whose rewards are equal, and one that got just its
    group's mean) carry no signal and get weight 0, as published: nor are they held to the
    reference. With guidance, the unconditional branch is detached, and the reference is guided too.
    """

    def __init__(
        self,
        solver: StochasticSolver,
        /,
        *,
        clip_range: Annotated[float, Gt(0)] = 1e-4,
        kl_weight: Annotated[float, Ge(0)] = 0.04,
        kl: KL = KL(),
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        trained_steps: Annotated[int, Ge(1)] | None = None,
        time_weights: TimeWeights = "even",
        recompute_old: bool = False,
    ) -> None:
        """Hyper-parameters of the paper.

        Args:
            solver: the run's own solver, whose transitions are evaluated again.
            clip_range: how far the ratio may leave 1; scale it with the latents' size.
            kl_weight: weight of the KL to the reference; 0 skips its forward. Published 0.04,
                PickScore 0.01.
            kl: what else there is to say of the KL; its `weight`, where written, is the one.
            adv_clip: advantages are clipped to this.
            trained_steps: how many of a path's steps a random choice trains on for each image;
                none: all that have a log-probability.
            time_weights: `tempflow` multiplies a step's surrogate by 2.25 times its noise, as
                TempFlow-GRPO (arXiv 2508.04324).
            recompute_old: whether the ratio is to the log-probabilities that training itself finds
                before the first update, and not to those that sampling found. A GPU's bfloat16
                products are rounded otherwise for another number of rows, by more than
                `clip_range`. Costs a forward for each row of all updates but the first.
        """
        super().__init__(
            solver, kl, kl_weight,
            trained_steps=trained_steps, time_weights=time_weights, recompute_old=recompute_old,
        )  # fmt: skip
        self.clip_range = clip_range
        self.adv_clip = adv_clip

    def surrogate(self, gaussian: Gaussian, log_prob: PerRow, rows: PathRows) -> Loss:
        """PPO's."""
        old = self.old_log_prob(log_prob, rows)
        per_row = clipped_surrogate(
            log_prob, old, rows.advantage, clip_range=self.clip_range, adv_clip=self.adv_clip
        )
        return recorded(per_row, (log_prob.detach() - old).exp(), clip=self.clip_range)

    def probes(self, policy: Policy, rows: PathRows, draws: Draws) -> Sequence[Probe]:
        """Before any update the ratio is 1."""
        return self.ratio_probe(policy, rows, draws, min(1e-3, 0.1 * self.clip_range))
