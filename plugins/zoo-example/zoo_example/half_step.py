"""A solver in one file: the explicit midpoint method."""

from jaxtyping import Float
from torch import Tensor

from zoo.sampler.base import Field, Step, StepSolver
from zoo.seeds import Draws


class HalfStep(StepSolver):
    """The explicit midpoint method: second order, two evaluations a step."""

    evals_per_step = 2

    def step(
        self,
        field: Field,
        x: Float[Tensor, "batch *latent"],
        t: Float[Tensor, ""],
        s: Float[Tensor, ""],
        state: None,
        draws: Draws,
    ) -> Step:
        """The velocity half-way, reached by half an Euler step, taken for the whole step."""
        middle = (t + s) / 2
        there = field(x + (middle - t) * field(x, t), middle)
        return Step(x + (s - t) * there)
