"""torchdiffeq's one-step methods on the sampler's own grid: a step of theirs is a step of it.

Being `StepSolver`s, they may be the deterministic part of an `sde_window` too. The recipe's
`sampler.steps` says how many there are, so torchdiffeq's `step_size` is not an option.
"""

from typing import ClassVar

import torch

from zoo.sampler.base import Field, Latents, Real, Step, StepSolver
from zoo.seeds import Draws
from zoo_torchdiffeq.field import TorchdiffeqField


class FixedStep(StepSolver):
    """One step of a method of torchdiffeq at a time."""

    method: ClassVar[str]
    """Its name there."""

    def __init__(self, *, perturb: bool = False) -> None:
        """`perturb` asks just inside a step's ends: for a field that jumps at the grid's times."""
        self.perturb = perturb

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: None, draws: Draws) -> Step:
        """The method's step from t to s."""
        from torchdiffeq import odeint

        ends = torch.stack([t, s]).to(x.device)
        options = {"perturb": self.perturb}
        path = odeint(TorchdiffeqField(field, t, s), x, ends, method=self.method, options=options)
        return Step(path[-1])


class Midpoint(FixedStep):
    """The explicit midpoint method, torchdiffeq's `midpoint`: second order, 2 evaluations."""

    method = "midpoint"
    evals_per_step = 2


class Heun2(FixedStep):
    """Heun's method (explicit trapezoid), torchdiffeq's `heun2`: second order, 2 evaluations."""

    method = "heun2"
    evals_per_step = 2


class Heun3(FixedStep):
    """Heun's third-order method, torchdiffeq's `heun3`: 3 evaluations, none at a step's end."""

    method = "heun3"
    evals_per_step = 3


class RungeKutta4(FixedStep):
    """Kutta's 3/8 rule, torchdiffeq's `rk4`: fourth order, 4 evaluations a step."""

    method = "rk4"
    evals_per_step = 4
