"""What every solver promises."""

from abc import ABC, abstractmethod
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from zoo.sampler.base import Solver, StochasticSolver
from zoo.seeds import Draws

LATENT = (2, 3, 3)

_GRIDS = {
    "even": torch.linspace(1, 0, 6, dtype=torch.float64),
    "uneven": torch.tensor([1, 0.9, 0.5, 0.45, 0.1, 0], dtype=torch.float64),
    "below 1": torch.tensor([0.97, 0.6, 0.3, 0.05, 0], dtype=torch.float64),
    "two steps": torch.tensor([1, 0.4, 0], dtype=torch.float64),
    "one step": torch.tensor([1, 0], dtype=torch.float64),
}
_ON_EACH_GRID = pytest.mark.parametrize("grid", _GRIDS.values(), ids=_GRIDS)


class Watched:
    """A smooth field, whose rows differ and do not mix; it notes where it was asked."""

    def __init__(self) -> None:
        """Asked nowhere yet."""
        self.times: list[float] = []

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Its velocity at x and a 0-dim t."""
        assert isinstance(t, Tensor)
        assert t.ndim == 0
        self.times.append(float(t))
        return torch.tanh(x) * (1 + t.to(x)) - 0.3 * x


class SolverTests(ABC):
    """The checks of a solver: inherit them in a class whose name starts with Test, write `make`."""

    @abstractmethod
    def make(self) -> Solver:
        """A new instance; each call gives another one that solves the same."""

    @_ON_EACH_GRID
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_clean_latents_are_finite_and_like_the_noise(
        self, grid: Tensor, dtype: torch.dtype
    ) -> None:
        """Of the noise's shape and type; the noise itself is another's and stays as it is."""
        x, draws = _start(grid, dtype=dtype)
        before = x.clone()
        clean = self.make().integrate(Watched(), x, grid, draws).clean
        assert (clean.shape, clean.dtype) == (x.shape, x.dtype)
        assert bool(clean.isfinite().all())
        assert torch.equal(x, before), "the solver changed the noise"

    @_ON_EACH_GRID
    def test_the_field_is_asked_within_the_grid_as_often_as_promised(self, grid: Tensor) -> None:
        """Runs plan and compare by the number of forwards; models know no time outside."""
        solver, field = self.make(), Watched()
        x, draws = _start(grid)
        path = solver.integrate(field, x, grid, draws)
        assert all(0 <= t <= float(grid[0]) for t in field.times)
        assert path.num_evals == len(field.times)
        assert solver.num_evals(len(grid) - 1) in (len(field.times), None)

    def test_the_same_draws_give_the_same_path_from_any_instance(self) -> None:
        """Randomness comes from the draws alone, and only where `stochastic` says so."""
        grid = _GRIDS["uneven"]
        x, draws = _start(grid)
        solver = self.make()
        once = solver.integrate(Watched(), x, grid, draws).clean
        assert torch.equal(solver.integrate(Watched(), x, grid, draws).clean, once)
        assert torch.equal(self.make().integrate(Watched(), x, grid, draws).clean, once)
        other = Draws(1, "test", 0, draws.keys)
        differs = not torch.equal(solver.integrate(Watched(), x, grid, other).clean, once)
        assert differs == solver.stochastic

    def test_a_row_does_not_depend_on_its_batch(self) -> None:
        """Batches differ with the number of processes; an image must not."""
        grid = _GRIDS["uneven"]
        x, draws = _start(grid)
        solver = self.make()
        whole = solver.integrate(Watched(), x, grid, draws).clean
        # What adapts its steps to a batch does so within its tolerance, step by step.
        atol = 1e-6 if solver.num_evals(1) is not None else 5e-3
        for index in (torch.tensor([0]), torch.tensor([3, 1]), torch.tensor([4, 2, 2])):
            part = solver.integrate(Watched(), x[index], grid, draws.take(index)).clean
            torch.testing.assert_close(part, whole[index], rtol=0, atol=atol)

    def test_finer_steps_approach_one_solution(self) -> None:
        """That of dx/dt = field(x, t), from grid[0] down to 0."""
        solver = self.make()
        if solver.stochastic:
            pytest.skip("its limit is a distribution")
        x, draws = _start(_GRIDS["even"], dtype=torch.float64)
        grids = [torch.linspace(1, 0, n + 1, dtype=torch.float64) for n in (10, 40, 400)]
        ends = [solver.integrate(Watched(), x, grid, draws).clean for grid in grids]
        solution = _euler(x, 4000)
        away = [float((end - solution).abs().max()) for end in ends]
        if solver.num_evals(1) is None:
            # It chooses its steps itself, so the first is as good: as its tolerance allows.
            assert max(away) < 0.05
            return
        assert max(away[1:]) < 0.02
        errors = [float((end - ends[2]).abs().max()) for end in ends[:2]]
        assert errors[1] < 0.02
        assert errors[1] < errors[0] / 2 or errors[0] < 1e-4

    @_ON_EACH_GRID
    def test_a_path_is_kept_by_stochastic_solvers_alone(self, grid: Tensor) -> None:
        """Every point from the noise to the clean latents; NaN where a step has no density."""
        solver = self.make()
        x, draws = _start(grid)
        path = solver.integrate(Watched(), x, grid, draws)
        if not solver.stochastic:
            assert path.x is path.log_prob is path.grid is None
            return
        steps = len(grid) - 1
        assert path.x is not None
        assert path.grid is not None
        assert path.log_prob is not None
        assert path.x.shape == (len(x), steps + 1, *LATENT)
        assert path.x.dtype == x.dtype
        assert torch.equal(path.x[:, 0], x)
        assert torch.equal(path.x[:, -1], path.clean)
        assert torch.equal(path.grid, grid)
        assert (path.log_prob.shape, path.log_prob.dtype) == ((len(x), steps), torch.float32)
        assert bool(path.log_prob[:, -1].isnan().all())
        assert bool((path.log_prob.isnan() == path.log_prob[:1].isnan()).all())
        if isinstance(solver, StochasticSolver):
            dense = solver.has_density(grid, draws)
            assert torch.equal(~path.log_prob[0].isnan(), dense)
            assert bool(path.log_prob[:, dense].isfinite().all())

    @_ON_EACH_GRID
    def test_a_stochastic_solvers_transitions_have_the_recorded_log_probabilities(
        self, grid: Tensor
    ) -> None:
        """On-policy the ratio is 1: the density is asked again, with times by row, as it was."""
        solver = _stochastic(self.make())
        x, draws = _start(grid)
        path = solver.integrate(Watched(), x, grid, draws)
        assert path.x is not None
        assert path.log_prob is not None
        dense = solver.has_density(grid, draws)
        for i, (t, s) in enumerate(pairwise(grid)):
            here, reached = path.x[:, i], path.x[:, i + 1]
            velocity = Watched()(here, t)
            scalar = solver.transition(velocity, here, t, s, grid)
            times = (t.float().expand(len(x)), s.float().expand(len(x)), grid.float())
            rows = solver.transition(velocity, here, *times)
            plain = solver.transition(velocity, here, float(t), float(s), grid)
            for gaussian in (rows, plain):
                torch.testing.assert_close(gaussian.mean, scalar.mean, rtol=1e-5, atol=1e-5)
                torch.testing.assert_close(
                    gaussian.std.expand_as(here), scalar.std.expand_as(here), rtol=1e-4, atol=1e-6
                )
            if not dense[i]:
                continue
            for gaussian, rtol in ((scalar, 0.0), (rows, 1e-3), (plain, 1e-3)):
                log_prob = gaussian.log_prob(reached)
                assert log_prob.dtype == torch.float32
                torch.testing.assert_close(log_prob, path.log_prob[:, i], rtol=rtol, atol=1e-5)

    def test_a_transitions_log_probability_is_differentiable_in_the_velocity(self) -> None:
        """It is what a policy gradient is taken of."""
        solver = _stochastic(self.make())
        grid = _GRIDS["even"]
        x, draws = _start(grid)
        path = solver.integrate(Watched(), x, grid, draws)
        assert path.x is not None
        for i in solver.has_density(grid, draws).nonzero()[:, 0].tolist():
            velocity = Watched()(path.x[:, i], grid[i]).requires_grad_()
            gaussian = solver.transition(velocity, path.x[:, i], grid[i], grid[i + 1], grid)
            gaussian.log_prob(path.x[:, i + 1]).sum().backward()  # type: ignore[no-untyped-call]
            assert velocity.grad is not None
            assert bool(velocity.grad.isfinite().all())
            assert float(velocity.grad.abs().max()) > 0


def _start(grid: Tensor, rows: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Draws]:
    draws = Draws(0, "test", 0, torch.arange(rows))
    return float(grid[0]) * draws.at("start").normal(LATENT).to(dtype), draws


def _stochastic(solver: Solver) -> StochasticSolver:
    if not isinstance(solver, StochasticSolver):
        pytest.skip("it has no transitions")
    return solver


def _euler(x: Tensor, steps: int) -> Tensor:
    """The solution at 0, by many small steps."""
    field = Watched()
    for t in torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1]:
        x = x - field(x, t) / steps
    return x
