"""The usual sampler: a solver over the policy's time grid, from noise."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from zoo.policy.base import Policy
from zoo.policy.float8 import Quantization, products_in
from zoo.rollout import Cond, Path
from zoo.sampler.base import Grid, Prompts, Sampler, Solver, Steps
from zoo.seeds import Draws


class FlowSampler(Sampler):
    """Starts from Gaussian noise at the grid's first t; a solver takes it to clean latents."""

    solver: Solver

    def __init__(
        self,
        *,
        solver: Solver,
        steps: Steps,
        guidance: Annotated[float, Ge(0)] = 1.0,
        quantization: Quantization = "none",
    ) -> None:
        """`steps` of the policy's own grid; `guidance` is the classifier-free scale, 1 is none.

        With `quantization` fp8 attention and feed-forward of a frozen bfloat16 network multiply in
        float8 while images are collected, and nowhere else: an experiment, for GPUs from Ada on and
        for objectives that learn from the images alone.
        """
        self.solver = solver
        self.steps = steps
        self.guidance = guidance
        self.quantization = quantization

    def grid(self, policy: Policy) -> Grid:
        """The policy's grid of `steps` steps."""
        return policy.grid(self.steps)

    def sample(
        self, policy: Policy, prompts: Prompts, cond: Cond, draws: Draws, *, keep_path: bool
    ) -> Path:
        """One row a prompt; noise is drawn by row, so a row's image is the same in any batch."""
        grid = self.grid(policy)
        x = float(grid[0]) * draws.at("start").normal(policy.latent_shape)

        def field(x: Tensor, t: Tensor) -> Tensor:
            # Filled in where x is: a copy of a number would be waited for.
            times = x.new_full((len(x),), float(t)) if t.is_cpu else t.to(x).expand(len(x))
            return policy.velocity(x, times, cond)

        with products_in(policy.weights.network, self.quantization):
            path = self.solver.integrate(field, x, grid, draws)
        return path if keep_path else Path(path.clean, path.num_evals)
