"""A solver in one file: the explicit midpoint method."""

from zoo.sampler.base import Field, Latents, Real, Step, StepSolver
from zoo.seeds import Draws


class HalfStep(StepSolver):
    """The explicit midpoint method: second order, two evaluations a step."""

    evals_per_step = 2

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: None, draws: Draws) -> Step:
        """The velocity half-way, reached by half an Euler step, taken for the whole step."""
        middle = (t + s) / 2
        there = field(x + (middle - t) * field(x, t), middle)
        return Step(x + (s - t) * there)
