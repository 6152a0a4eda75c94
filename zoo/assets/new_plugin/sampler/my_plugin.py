"""A sampler: makes a batch of images with a policy."""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from zoo.policy.base import Policy
from zoo.sampler.base import Solver
from zoo.sampler.flow_sampler import FlowSampler


class MyPlugin(FlowSampler):
    """A solver over the policy's time grid, shifted: more or fewer of the steps at high noise.

    The shift is that of Esser et al. 2024 (arXiv 2403.03206): t becomes
    shift * t / (1 + (shift - 1) * t). Images are then made as by zoo's own sampler; one that makes
    them in another way is a `zoo.sampler.base.Sampler` with a `sample` of its own.
    """

    def __init__(
        self,
        *,
        solver: Solver,
        steps: Annotated[int, Ge(1)],
        guidance: Annotated[float, Ge(0)] = 1.0,
        shift: Annotated[float, Gt(0)] = 1.5,
    ) -> None:
        """`guidance` is the classifier-free scale, 1 is none; so is a `shift` of 1."""
        super().__init__(solver=solver, steps=steps, guidance=guidance)
        self._shift = shift

    def grid(self, policy: Policy) -> Tensor:
        """Falling times, the last one 0; objectives may train at them."""
        t = super().grid(policy)
        return self._shift * t / (1 + (self._shift - 1) * t)
