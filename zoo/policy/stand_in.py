"""A policy with another velocity in place of its network's, for what is asked of shapes alone."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from zoo.policy.base import Images, Latents, Policy
from zoo.prompt import Prompt
from zoo.rollout import Cond

Velocity = Callable[[Tensor, Tensor, Cond], Tensor]
"""As `Policy.velocity`."""


class WithVelocity(Policy):
    """All else is the policy's own, also what only its family has."""

    def __init__(self, policy: Policy, velocity: Velocity) -> None:
        """`velocity` is asked for what the policy would be."""
        self.weights, self.latent_shape = policy.weights, policy.latent_shape
        self._policy, self._velocity = policy, velocity

    def __getattr__(self, name: str) -> Any:
        """Of what is not here: the policy's."""
        return getattr(self._policy, name)

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """The policy's."""
        return self._policy.encode(prompts, guidance=guidance)

    def velocity(self, x: Latents, t: Float[Tensor, " batch"], cond: Cond) -> Latents:
        """The other one."""
        return self._velocity(x, t, cond)

    def decode(self, latents: Latents) -> Images:
        """The policy's."""
        return self._policy.decode(latents)

    def latents(self, images: Images) -> Latents:
        """The policy's."""
        return self._policy.latents(images)

    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """The policy's."""
        return self._policy.grid(num_steps)
