"""An objective: which rows of the collected images to train on, and their loss."""

from dataclasses import replace
from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from zoo.objective.base import Loss, Objective
from zoo.objective.clean import CleanRows, clean_rows
from zoo.policy.base import Policy
from zoo.rollout import Rollout
from zoo.seeds import Draws


class MyPlugin(Objective[CleanRows]):
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
        self._temperature, self._times = temperature, times_per_image

    def rows(self, rollout: Rollout, advantage: Tensor, draws: Draws) -> CleanRows:
        """As many rows whatever the advantages; NaN marks an invalid image, whose rows weigh 0."""
        # Each image at several times. Rows of other tensors: a subclass of `zoo.rollout.Rows`.
        rows = clean_rows(rollout, advantage, draws.uniform((self._times,)))
        weight = (advantage / self._temperature).exp().nan_to_num(0.0).float()
        return replace(rows, weight=weight.repeat_interleave(self._times))

    def loss(self, policy: Policy, rows: CleanRows, draws: Draws) -> Loss:
        """A number for each row, [rows]; the loop weighs and averages them."""
        at = rows.with_noise(draws)
        return Loss(at.error(at.velocity(policy)))
