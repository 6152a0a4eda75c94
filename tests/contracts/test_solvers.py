"""What every registered solver promises."""

from itertools import pairwise

import pytest
import torch

from tests.contracts.components import build, each
from zoo.sampler.base import StochasticSolver
from zoo.seeds import Draws

EACH = each("solvers")
LATENT = (2, 3, 3)
GRIDS = {
    "even": torch.linspace(1, 0, 6, dtype=torch.float64),
    "uneven": torch.tensor([1, 0.9, 0.5, 0.45, 0.1, 0], dtype=torch.float64),
    "below 1": torch.tensor([0.97, 0.6, 0.3, 0.05, 0], dtype=torch.float64),
    "two steps": torch.tensor([1, 0.4, 0], dtype=torch.float64),
    "one step": torch.tensor([1, 0], dtype=torch.float64),
}
ON_EACH_GRID = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


class Watched:
    """A smooth field, whose rows differ and do not mix; it notes where it was asked."""

    def __init__(self):
        self.times = []

    def __call__(self, x, t):
        assert isinstance(t, torch.Tensor)
        assert t.ndim == 0
        self.times.append(float(t))
        return torch.tanh(x) * (1 + t.to(x)) - 0.3 * x


def start(grid, rows=5, dtype=torch.float32):
    draws = Draws(0, "test", 0, torch.arange(rows))
    return float(grid[0]) * draws.at("start").normal(LATENT).to(dtype), draws


@EACH
@ON_EACH_GRID
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clean_latents_are_finite_and_like_the_noise(entry, grid, dtype, tmp_path):
    x, draws = start(grid, dtype=dtype)
    before = x.clone()
    clean = build(entry, tmp_path).integrate(Watched(), x, grid, draws).clean
    assert (clean.shape, clean.dtype) == (x.shape, x.dtype)
    assert bool(clean.isfinite().all())
    assert torch.equal(x, before)


@EACH
@ON_EACH_GRID
def test_the_field_is_asked_within_the_grid_as_often_as_promised(entry, grid, tmp_path):
    solver, field = build(entry, tmp_path), Watched()
    x, draws = start(grid)
    path = solver.integrate(field, x, grid, draws)
    assert all(0 <= t <= float(grid[0]) for t in field.times)
    assert path.num_evals == len(field.times)
    assert solver.num_evals(len(grid) - 1) in (len(field.times), None)


@EACH
def test_the_same_draws_give_the_same_path_from_any_instance(entry, tmp_path):
    grid = GRIDS["uneven"]
    x, draws = start(grid)
    solver = build(entry, tmp_path)
    once = solver.integrate(Watched(), x, grid, draws).clean
    assert torch.equal(solver.integrate(Watched(), x, grid, draws).clean, once)
    again = build(entry, tmp_path).integrate(Watched(), x, grid, draws).clean
    assert torch.equal(again, once)
    other = Draws(1, "test", 0, draws.keys)
    differs = not torch.equal(solver.integrate(Watched(), x, grid, other).clean, once)
    assert differs == solver.stochastic


@EACH
def test_a_row_does_not_depend_on_its_batch(entry, tmp_path):
    grid = GRIDS["uneven"]
    x, draws = start(grid)
    solver = build(entry, tmp_path)
    whole = solver.integrate(Watched(), x, grid, draws).clean
    # What adapts its steps to a batch does so within its tolerance.
    atol = 1e-6 if solver.num_evals(1) is not None else 1e-3
    for index in (torch.tensor([0]), torch.tensor([3, 1]), torch.tensor([4, 2, 2])):
        part = solver.integrate(Watched(), x[index], grid, draws.take(index)).clean
        torch.testing.assert_close(part, whole[index], rtol=0, atol=atol)


@EACH
def test_finer_steps_approach_one_solution(entry, tmp_path):
    solver = build(entry, tmp_path)
    if solver.stochastic:
        pytest.skip("its limit is a distribution: see invariants/test_solvers.py")
    x, draws = start(GRIDS["even"], dtype=torch.float64)
    ends = [
        solver.integrate(
            Watched(), x, torch.linspace(1, 0, n + 1, dtype=torch.float64), draws
        ).clean
        for n in (10, 40, 400)
    ]
    errors = [float((end - ends[2]).abs().max()) for end in ends[:2]]
    assert errors[1] < 0.02
    assert errors[1] < errors[0] / 2 or errors[0] < 1e-4


@EACH
@ON_EACH_GRID
def test_a_path_is_kept_by_stochastic_solvers_alone(entry, grid, tmp_path):
    solver = build(entry, tmp_path)
    x, draws = start(grid)
    path = solver.integrate(Watched(), x, grid, draws)
    if not solver.stochastic:
        assert path.x is path.log_prob is path.grid is None
        return
    steps = len(grid) - 1
    assert path.x.shape == (len(x), steps + 1, *LATENT)
    assert path.x.dtype == x.dtype
    assert torch.equal(path.x[:, 0], x)
    assert torch.equal(path.x[:, -1], path.clean)
    assert torch.equal(path.grid, grid)
    assert (path.log_prob.shape, path.log_prob.dtype) == ((len(x), steps), torch.float32)
    assert bool(path.log_prob[:, -1].isnan().all())
    assert bool((path.log_prob.isnan() == path.log_prob[:1].isnan()).all())
    if isinstance(solver, StochasticSolver):
        assert bool(path.log_prob[:, :-1].isfinite().all())


@EACH
@ON_EACH_GRID
def test_a_stochastic_solvers_transitions_have_the_recorded_log_probabilities(
    entry, grid, tmp_path
):
    solver = build(entry, tmp_path)
    if not isinstance(solver, StochasticSolver):
        pytest.skip("it has no transitions")
    x, draws = start(grid)
    path = solver.integrate(Watched(), x, grid, draws)
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
        if s == 0:
            continue
        for gaussian, rtol in ((scalar, 0.0), (rows, 1e-3), (plain, 1e-3)):
            log_prob = gaussian.log_prob(reached)
            assert log_prob.dtype == torch.float32
            torch.testing.assert_close(log_prob, path.log_prob[:, i], rtol=rtol, atol=1e-5)


@EACH
def test_a_transitions_log_probability_is_differentiable_in_the_velocity(entry, tmp_path):
    solver = build(entry, tmp_path)
    if not isinstance(solver, StochasticSolver):
        pytest.skip("it has no transitions")
    grid = GRIDS["even"]
    x, draws = start(grid)
    path = solver.integrate(Watched(), x, grid, draws)
    for i in range(len(grid) - 2):
        velocity = Watched()(path.x[:, i], grid[i]).requires_grad_()
        gaussian = solver.transition(velocity, path.x[:, i], grid[i], grid[i + 1], grid)
        gaussian.log_prob(path.x[:, i + 1]).sum().backward()
        assert bool(velocity.grad.isfinite().all())
        assert float(velocity.grad.abs().max()) > 0
