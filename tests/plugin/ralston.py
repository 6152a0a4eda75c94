"""A solver in one file: Ralston's method (1962)."""

from zoo.sampler.base import Field, Latents, Real, Step, StepSolver
from zoo.seeds import Draws


class Ralston(StepSolver):
    """Ralston's method: of the two-stage second-order methods, the one of least error bound."""

    evals_per_step = 2

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: None, draws: Draws) -> Step:
        """A quarter of the velocity here, three quarters of that at two thirds of the step."""
        dt = s - t
        here = field(x, t)
        there = field(x + 2 / 3 * dt * here, t + 2 / 3 * dt)
        return Step(x + dt * (here / 4 + 3 * there / 4))
