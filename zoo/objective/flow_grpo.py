"""Flow-GRPO: policy gradients over a stochastic sampler's steps.

Liu et al. 2025 (arXiv 2505.05470). Collects with live and a stochastic solver, keeps the path and
each step's log-probability, and maximises PPO's clipped surrogate of the advantage (eq. 4), with a
KL term to the reference.

The log-probability is the mean over latent axes, as published, so `clip_range` depends on the
latents' size: 1e-4 suits SD3's 65,536 dimensions, 3e-3 the digits' 64. The KL divides by sigma_t^2,
as the published code does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from zoo.errors import MisfitError
from zoo.flow import over_latent
from zoo.objective.base import Loss, Objective, Probe
from zoo.policy.base import Policy
from zoo.rollout import Cond, Lookup, Rollout, Rows, Weights, shared, take
from zoo.sampler.base import StochasticSolver
from zoo.seeds import Draws


def clipped_surrogate(
    log_prob: Float[Tensor, " batch"],
    old_log_prob: Float[Tensor, " batch"],
    advantage: Float[Tensor, " batch"],
    *,
    clip_range: float,
    adv_clip: float = 5.0,
) -> Float[Tensor, " batch"]:
    """max(-a ratio, -a clip(ratio, 1 - clip_range, 1 + clip_range)), a clipped to +-adv_clip."""
    ratio = (log_prob - old_log_prob).exp()
    a = advantage.clamp(-adv_clip, adv_clip)
    return torch.maximum(-a * ratio, -a * ratio.clamp(1 - clip_range, 1 + clip_range))


@dataclass(frozen=True)
class FlowGRPORows(Rows):
    """A row is one step of one image's path, from x at t to `reached` at s."""

    x: Lookup
    reached: Lookup
    cond: Cond
    t: Float[Tensor, " rows"]
    s: Float[Tensor, " rows"]
    log_prob: Float[Tensor, " rows"]
    advantage: Float[Tensor, " rows"]
    grid: Float[Tensor, " num_points"] = shared()


class FlowGRPO(Objective[FlowGRPORows]):
    """Flow-GRPO (arXiv 2505.05470): a clipped policy gradient on the steps of a stochastic solver.

    Images of advantage exactly 0 (all of a group whose rewards are equal, and one that got just its
    group's mean) carry no signal and get weight 0, as published: nor are they held to the
    reference. With guidance, the unconditional branch is detached, and the reference is guided too.
    """

    needs_path = True
    trains_guided = True

    def __init__(
        self,
        solver: StochasticSolver,
        /,
        *,
        clip_range: Annotated[float, Gt(0)] = 1e-4,
        kl_weight: Annotated[float, Ge(0)] = 0.04,
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        trained_steps: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        """Hyper-parameters of the paper.

        Args:
            solver: the run's own solver, whose transitions are evaluated again.
            clip_range: how far the ratio may leave 1; scale it with the latents' size.
            kl_weight: weight of the KL to the reference; 0 skips its forward. Published 0.04,
                PickScore 0.01.
            adv_clip: advantages are clipped to this.
            trained_steps: how many of a path's steps a random choice trains on for each image;
                none: all that have a log-probability.
        """
        self.solver = solver
        self.clip_range = clip_range
        self.kl_weight = kl_weight
        self.adv_clip = adv_clip
        self.trained_steps = trained_steps

    @property
    def uses(self) -> frozenset[Weights]:
        """The reference, where the distance to it has weight."""
        return frozenset({Weights.REFERENCE}) if self.kl_weight > 0 else frozenset()

    def rows(
        self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws
    ) -> FlowGRPORows:
        """Each image at its steps that have a log-probability, or at `trained_steps` of them."""
        path = rollout.path
        if path.x is None or path.log_prob is None or path.grid is None:
            raise ValueError(
                "flow_grpo needs the path of a stochastic solver; "
                "use sampler.solver: {name: flow_sde}"
            )
        # A broken image is zeroed and so has no NaN; what has no density for one has it for none.
        steps = self.solver.has_density(path.grid, draws).nonzero()[:, 0]
        trained = len(steps) if self.trained_steps is None else self.trained_steps
        if trained > len(steps):
            raise MisfitError(
                ("objective", "trained_steps"),
                f"trained_steps is {trained}, but only {len(steps)} steps have a log-probability",
            )
        step = steps[draws.permutation(len(steps))[:, :trained].cpu()].flatten()
        image = torch.arange(len(rollout.key)).repeat_interleave(trained)
        device = path.clean.device
        num_points, points = path.x.shape[1], path.x.flatten(0, 1)
        at = (image * num_points + step).to(device)
        weight = (advantage.nan_to_num() != 0).float()
        grid = path.grid.to(device, torch.float32)
        return FlowGRPORows(
            key=(rollout.key[:, None] * trained + torch.arange(trained)).flatten(),
            unit=rollout.key[image],
            weight=weight[image],
            x=Lookup(points, at),
            reached=Lookup(points, at + 1),
            cond=take(rollout.cond, image),
            t=grid[step],
            s=grid[step + 1],
            log_prob=path.log_prob[image.to(device), step.to(device)],
            advantage=advantage.nan_to_num().float()[image].to(device),
            grid=grid,
        )

    def loss(self, policy: Policy, rows: FlowGRPORows, draws: Draws) -> Loss:
        """The clipped surrogate, plus the KL term where it has weight."""
        x, t, s = rows.x.rows(), rows.t, rows.s
        gaussian = self.solver.transition(policy.velocity(x, t, rows.cond), x, t, s, rows.grid)
        log_prob = gaussian.log_prob(rows.reached.rows())
        per_row = clipped_surrogate(
            log_prob,
            rows.log_prob,
            rows.advantage,
            clip_range=self.clip_range,
            adv_clip=self.adv_clip,
        )
        ratio = (log_prob.detach() - rows.log_prob).exp()
        metrics = {"ratio": ratio, "clip_fraction": ((ratio - 1).abs() > self.clip_range).float()}
        if self.kl_weight > 0:
            with torch.no_grad(), policy.weights.using(Weights.REFERENCE):
                velocity = policy.velocity(x, t, rows.cond)
            reference = self.solver.transition(velocity, x, t, s, rows.grid)
            # std is sigma_t sqrt(t - s), so this is the published 2 sigma_t^2 for any solver.
            sigma_squared = gaussian.std.square() / over_latent(t - s, x)
            kl = (
                ((gaussian.mean - reference.mean).square() / (2 * sigma_squared)).flatten(1).mean(1)
            )
            per_row = per_row + self.kl_weight * kl
            metrics["kl"] = kl.detach()
        return Loss(per_row, metrics)

    def probes(self, policy: Policy, rows: FlowGRPORows, draws: Draws) -> Sequence[Probe]:
        """Before any update the model that trains is the model that collected: the ratio is 1."""
        with torch.no_grad():
            ratio = self.loss(policy, rows, draws).metrics["ratio"]
        furthest = float(ratio[(ratio - 1).abs().argmax()])
        return (Probe("on-policy ratio", furthest, 1.0, min(1e-3, 0.1 * self.clip_range)),)
