"""An objective: which rows of the collected images to train on, and their loss."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from zoo.flow import noised, velocity_target
from zoo.objective.base import Loss, Objective
from zoo.policy.base import Policy
from zoo.rollout import Cond, Lookup, Rollout, Rows, take
from zoo.seeds import Draws


@dataclass(frozen=True)
class ImageRows(Rows):
    """A row is one image at one random time."""

    clean: Lookup
    cond: Cond


class MyPlugin(Objective[ImageRows]):
    """Reward-weighted regression: flow matching on the model's own images, the better ones more.

    Lee et al. 2023 (arXiv 2302.12192), with the weight exp(advantage / temperature).
    """

    def __init__(
        self,
        *,
        temperature: Annotated[float, Gt(0)] = 0.5,
        times_per_image: Annotated[int, Ge(1)] = 4,
    ) -> None:
        """A low `temperature` trusts the best images alone; each is trained at several times."""
        self._temperature = temperature
        self._times = times_per_image

    def rows(self, rollout: Rollout, advantage: Tensor, draws: Draws) -> ImageRows:
        """As many rows whatever the advantages; NaN marks an invalid image, whose rows weigh 0."""
        image = torch.arange(len(rollout.key)).repeat_interleave(self._times)
        time = torch.arange(self._times).repeat(len(rollout.key))
        weight = (advantage / self._temperature).exp().nan_to_num(0.0).float()
        return ImageRows(
            # Unique over all processes: it seeds the row's noise.
            key=rollout.key[image] * self._times + time,
            # Rows of one unit are trained in the same update.
            unit=rollout.key[image],
            weight=weight[image],
            clean=Lookup(rollout.path.clean, image.to(rollout.path.clean.device)),
            cond=take(rollout.cond, image),
        )

    def loss(self, policy: Policy, rows: ImageRows, draws: Draws) -> Loss:
        """A number for each row, [rows]; the loop weighs and averages them."""
        clean = rows.clean.rows()
        t, noise = draws.uniform(), draws.normal(tuple(clean.shape[1:]))
        velocity = policy.velocity(noised(clean, noise, t), t, rows.cond)
        return Loss((velocity - velocity_target(clean, noise)).square().flatten(1).mean(1))
