"""Orders and tolerances, on dx/dt = 3 (1 + t) x (1 - x).

Its solution is known: log(x / (1 - x)) - 3 (t + t^2 / 2) stays what it is. Gaussian data would not
do: there the first term of the midpoint method's error cancels.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torchdiffeq import odeint
from zoo_torchdiffeq.adams import ExplicitAdams, ImplicitAdams
from zoo_torchdiffeq.adaptive import (
    AdaptiveHeun,
    BogackiShampine3,
    DormandPrince5,
    DormandPrince8,
    Fehlberg2,
)
from zoo_torchdiffeq.fixed import Heun2, Heun3, Midpoint, RungeKutta4
from zoo_torchdiffeq.scipy_solver import SciPy

from zoo.sampler.ode import Euler, Heun
from zoo.sampler.sde import FlowSDE
from zoo.sampler.window import SDEWindow
from zoo.seeds import Draws

FIRST = 0.95
Z = torch.tensor([[-2.0], [-0.5], [0.0], [1.0], [3.0]], dtype=torch.float64)
DRAWS = Draws(0, "test", 0, torch.arange(5))


def velocity(x: Tensor, t: Tensor) -> Tensor:
    return 3 * (1 + t.to(x)) * x * (1 - x)


def grid(num_steps: int, shift: float = 1.0) -> Tensor:
    even = torch.linspace(FIRST, 0, num_steps + 1, dtype=torch.float64)
    return shift * even / (1 + (shift - 1) * even)


def path(solver, times: Tensor, dtype: torch.dtype = torch.float64):
    return solver.integrate(velocity, Z.sigmoid().to(dtype), times, DRAWS)


def error(solver, times: Tensor, dtype: torch.dtype = torch.float64) -> float:
    solution = (Z - 3 * (times[0] + times[0] ** 2 / 2)).sigmoid()
    return float((path(solver, times, dtype).clean - solution).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(
    ("solver", "order"), [(Midpoint, 2), (Heun2, 2), (Heun3, 3), (RungeKutta4, 4)]
)
def test_methods_of_one_step_have_their_order_on_any_grid(solver, order, shift):
    errors = [error(solver(), grid(n, shift)) for n in (40, 80, 160, 320)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] == pytest.approx(order, abs=0.15)
    assert errors[-1] < 2e-4


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (ExplicitAdams(), 3),
        (ExplicitAdams(max_order=5), 4),
        (ImplicitAdams(rtol=0, atol=1e-13, max_iters=50), 4),
    ],
)
def test_adams_methods_have_their_order_on_an_even_grid(solver, order):
    errors = [error(solver, grid(n)) for n in (80, 160, 320)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("solver", [ExplicitAdams(), ImplicitAdams()])
def test_on_a_shifted_grid_adams_methods_are_of_second_order(solver):
    errors = [error(solver, grid(n, shift=3.0)) for n in (80, 160, 320)]
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 9])
def test_methods_that_are_built_in_too_agree(num_steps):
    times = grid(num_steps, shift=3.0)
    torch.testing.assert_close(path(Heun2(), times).clean, path(Heun(), times).clean)
    theirs = odeint(
        lambda t, x: velocity(x, t), path(Euler(), times[:1]).clean, times, method="euler"
    )
    torch.testing.assert_close(path(Euler(), times).clean, theirs[-1])


ADAPTIVE = [
    AdaptiveHeun, Fehlberg2, BogackiShampine3, DormandPrince5, DormandPrince8, SciPy,
]  # fmt: skip


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("solver", ADAPTIVE)
def test_a_tighter_tolerance_brings_the_error_down_with_it(solver):
    for tolerance in (1e-2, 1e-4, 1e-6):
        assert error(solver(rtol=tolerance, atol=tolerance), grid(1)) < 200 * tolerance


@pytest.mark.slow
@pytest.mark.parametrize("solver", ADAPTIVE)
def test_float32_latents_stay_float32_and_are_as_good(solver):
    made = solver(rtol=1e-6, atol=1e-6)
    assert path(made, grid(1), torch.float32).clean.dtype == torch.float32
    assert error(made, grid(1), torch.float32) < 2e-4


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (AdaptiveHeun, 2), (Fehlberg2, 2), (BogackiShampine3, 3), (DormandPrince5, 5),
        (DormandPrince8, 8),
    ],
)  # fmt: skip
def test_steps_of_a_fixed_length_show_the_order_of_the_pair(solver, order):
    """Every step is accepted and as long as the last but for its rounding: no tolerance in play."""
    errors = []
    for num_steps in (8, 16) if order == 8 else (20, 40, 80):
        length = FIRST / num_steps
        made = solver(rtol=0, atol=1e3, first_step=length, min_step=length, max_step=length)
        errors.append(error(made, grid(1)))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] == pytest.approx(order, abs=0.5)


def test_what_is_between_the_ends_of_the_grid_does_not_matter_to_an_adaptive_solver():
    times = torch.tensor([FIRST, 0.3, 0.29, 0.0], dtype=torch.float64)
    for solver in (DormandPrince5(), SciPy()):
        assert torch.equal(path(solver, times).clean, path(solver, grid(1)).clean)


def test_they_serve_outside_of_a_window():
    solver = SDEWindow(inside=FlowSDE(), outside=RungeKutta4(), size=2)
    found = solver.integrate(
        lambda x, t: torch.tanh(x), Z.float(), torch.linspace(1, 0, 6).double(), DRAWS
    )
    assert found.num_evals == 2 + 3 * 4
    assert bool(found.clean.isfinite().all())
