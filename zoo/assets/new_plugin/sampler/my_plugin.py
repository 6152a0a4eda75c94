"""A sampler: makes a batch of images with a policy."""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from zoo.policy.base import Policy
from zoo.rollout import Cond, Path
from zoo.sampler.base import Prompts, Sampler, Solver
from zoo.seeds import Draws


class MyPlugin(Sampler):
    """A solver over the policy's time grid, shifted: more or fewer of the steps at high noise.

    The shift is that of Esser et al. 2024 (arXiv 2403.03206): t becomes
    shift * t / (1 + (shift - 1) * t).
    """

    solver: Solver

    def __init__(
        self,
        *,
        solver: Solver,
        steps: Annotated[int, Ge(1)],
        guidance: Annotated[float, Ge(0)] = 1.0,
        shift: Annotated[float, Gt(0)] = 1.5,
    ) -> None:
        """`guidance` is the classifier-free scale, 1 is none; so is a `shift` of 1."""
        self.solver = solver
        self.guidance = guidance
        self._steps = steps
        self._shift = shift

    def grid(self, policy: Policy) -> Tensor:
        """Falling times, the last one 0; objectives may train at them."""
        t = policy.grid(self._steps)
        return self._shift * t / (1 + (self._shift - 1) * t)

    def sample(
        self, policy: Policy, prompts: Prompts, cond: Cond, draws: Draws, *, keep_path: bool
    ) -> Path:
        """One image a prompt. Noise is drawn by row: the same image in any batch."""
        grid = self.grid(policy)
        x = float(grid[0]) * draws.at("start").normal(policy.latent_shape)

        def field(x: Tensor, t: Tensor) -> Tensor:
            return policy.velocity(x, t.to(x).expand(len(x)), cond)

        path = self.solver.integrate(field, x, grid, draws)
        return path if keep_path else Path(path.clean, path.num_evals)
