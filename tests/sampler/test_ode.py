"""Deterministic solvers against the reference."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import reference
from zoo.sampler.ode import DPMSolver2M, Euler, Heun
from zoo.seeds import Draws

SOLVERS = [(Euler, reference.euler, 1), (Heun, reference.heun, 2), (DPMSolver2M, reference.dpm2, 1)]
SD3 = [1, 0.9601, 0.9133, 0.8577, 0.7904, 0.7073, 0.6022, 0.4649, 0.2780, 0.0089, 0]
GRIDS = {
    "even": np.linspace(1, 0, 11).tolist(),
    "sd3": SD3,
    "one step": [1.0, 0.0],
    "two steps": [1.0, 0.4, 0.0],
    "three steps": [1.0, 0.6, 0.3, 0.0],
    "from below 1": [0.95, 0.8, 0.6, 0.3, 0.1, 0.0],
}


def field(x: Tensor, t: Tensor) -> Tensor:
    assert t.ndim == 0
    return torch.sin(2 * x) * (1 + t) - 0.5 * x + torch.cos(3 * t)


def numpy_field(x: np.ndarray, t: float) -> np.ndarray:
    return np.sin(2 * x) * (1 + t) - 0.5 * x + math.cos(3 * t)


def start(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 2, 3, 3, generator=generator, dtype=torch.float64).to(dtype)


def draws(num: int = 4) -> Draws:
    return Draws(0, "test", 0, torch.arange(num))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(("solver", "wanted", "evals"), SOLVERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_solvers_agree_with_the_reference(dtype, tolerance, solver, wanted, evals, grid) -> None:
    num = 0

    def counted(x: Tensor, t: Tensor) -> Tensor:
        nonlocal num
        num += 1
        assert 0 <= float(t) <= grid[0]
        return field(x, t.to(x))

    times = torch.tensor(grid, dtype=torch.float64)
    path = solver().integrate(counted, start(dtype), times, draws())
    expected = wanted(numpy_field, reference.array(start(dtype)), [float(t) for t in grid])
    np.testing.assert_allclose(path.clean, expected, rtol=tolerance, atol=tolerance)
    assert path.clean.dtype == dtype
    assert num == path.num_evals == evals * (len(grid) - 1)
    assert path.x is None
    assert path.log_prob is None


@pytest.mark.parametrize(("solver", "wanted", "evals"), SOLVERS)
def test_the_number_of_evaluations_is_known_beforehand(solver, wanted, evals) -> None:
    assert [solver().num_evals(n) for n in (0, 1, 10)] == [0, evals, 10 * evals]


@pytest.mark.parametrize("solver", [Euler, Heun, DPMSolver2M])
def test_a_solver_keeps_nothing_between_runs(solver) -> None:
    one, times = solver(), torch.tensor(SD3, dtype=torch.float64)
    first = one.integrate(field, start(), times, draws()).clean
    one.integrate(field, start() + 1, times[2:], draws())
    assert torch.equal(one.integrate(field, start(), times, draws()).clean, first)


@pytest.mark.parametrize("solver", [Euler, Heun, DPMSolver2M])
def test_no_rows_give_no_rows(solver) -> None:
    times = torch.tensor(SD3, dtype=torch.float64)
    path = solver().integrate(field, torch.zeros(0, 2, 3, 3), times, draws(0))
    assert path.clean.shape == (0, 2, 3, 3)


@pytest.mark.parametrize("num_steps", [1, 2])
def test_dpm2_is_euler_for_two_steps(num_steps) -> None:
    times = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    found = DPMSolver2M().integrate(field, start(), times, draws()).clean
    torch.testing.assert_close(found, Euler().integrate(field, start(), times, draws()).clean)
