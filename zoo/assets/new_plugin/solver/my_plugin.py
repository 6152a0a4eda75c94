"""A solver: takes noise to an image along a velocity field."""

from typing import Annotated

from annotated_types import Gt, Le

from zoo.sampler.base import Field, Latents, Real, Step, StepSolver
from zoo.seeds import Draws


class MyPlugin(StepSolver):
    """A second-order Runge-Kutta method of two evaluations a step.

    Integrates dx/dt = field(x, t) from the grid's first time down to 0. A method that adds noise
    subclasses zoo.sampler.base.StochasticSolver instead.
    """

    evals_per_step = 2

    def __init__(self, *, point: Annotated[float, Gt(0), Le(1)] = 2 / 3) -> None:
        """`point` of a step has the second evaluation: 1/2 is midpoint, 2/3 Ralston, 1 Heun."""
        self._point = point

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: None, draws: Draws) -> Step:
        """From x at t to s < t; what the next step needs goes into the `Step`."""
        dt, point = s - t, self._point
        here = field(x, t)
        there = field(x + point * dt * here, t + point * dt)
        share = 1 / (2 * point)
        return Step(x + dt * ((1 - share) * here + share * there))
