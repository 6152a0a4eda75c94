"""Reward-weighted regression: flow matching on the model's own images, the better ones more.

Peters and Schaal 2007; for diffusion models Lee et al. 2023 (arXiv 2302.12192).
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from zoo.flow import noised, velocity_target
from zoo.objective.base import Loss, Objective
from zoo.policy.base import Policy
from zoo.rollout import Cond, Lookup, Rollout, Rows, take
from zoo.seeds import Draws


@dataclass(frozen=True)
class RWRRows(Rows):
    """A row is one image at one random time."""

    clean: Lookup
    cond: Cond


class RewardWeightedRegression(Objective[RWRRows]):
    """Reward-weighted regression: a plain flow-matching loss, weighted by exp(a / temperature)."""

    def __init__(
        self,
        *,
        temperature: Annotated[float, Gt(0)] = 1.0,
        times_per_image: Annotated[int, Ge(1)] = 4,
    ) -> None:
        """A low `temperature` trusts the best images alone."""
        self.temperature = temperature
        self.times_per_image = times_per_image

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> RWRRows:
        """Each image `times_per_image` times."""
        image = torch.arange(len(rollout.key)).repeat_interleave(self.times_per_image)
        time = torch.arange(self.times_per_image).repeat(len(rollout.key))
        weight = (advantage / self.temperature).exp().nan_to_num(0.0).float()
        return RWRRows(
            key=rollout.key[image] * self.times_per_image + time,
            unit=rollout.key[image],
            weight=weight[image],
            clean=Lookup(rollout.path.clean, image.to(rollout.path.clean.device)),
            cond=take(rollout.cond, image),
        )

    def loss(self, policy: Policy, rows: RWRRows, draws: Draws) -> Loss:
        """The flow-matching error of each row; the rows' weights are applied by the loop."""
        clean = rows.clean.rows()
        t, noise = draws.uniform(), draws.normal(tuple(clean.shape[1:]))
        velocity = policy.velocity(noised(clean, noise, t), t, rows.cond)
        return Loss((velocity - velocity_target(clean, noise)).square().flatten(1).mean(1))
