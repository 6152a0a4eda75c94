"""Stochastic transitions against the reference."""

import math
from inspect import signature

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import reference
from zoo.sampler.base import Gaussian
from zoo.sampler.sde import CPS, DDIM, DanceSDE, FlowSDE
from zoo.seeds import Draws

GRID = torch.tensor([1.0, 0.9601, 0.7904, 0.5, 0.0089, 0.0], dtype=torch.float64)
SECOND = 0.9601
PAIRS = [(1.0, 0.9601), (0.9601, 0.7904), (0.7904, 0.5), (0.5, 0.0089), (0.0089, 0.0), (1.0, 0.0)]

SOLVERS = {
    "flow_sde": (FlowSDE(), reference.flow_sde, {"noise_level": 0.7, "second": SECOND}),
    "flow_sde 0.3": (
        FlowSDE(noise_level=0.3),
        reference.flow_sde,
        {"noise_level": 0.3, "second": SECOND},
    ),
    "dance": (DanceSDE(), reference.dance, {"noise_level": 0.3}),
    "dance 0.9": (DanceSDE(noise_level=0.9), reference.dance, {"noise_level": 0.9}),
    "ddim": (DDIM(), reference.ddim, {"eta": 1.0}),
    "ddim 0.4": (DDIM(eta=0.4), reference.ddim, {"eta": 0.4}),
    "cps": (CPS(), reference.cps, {"eta": 0.9}),
    "cps 0.5": (CPS(eta=0.5), reference.cps, {"eta": 0.5}),
    "cps 0": (CPS(eta=0.0), reference.cps, {"eta": 0.0}),
}
EACH = pytest.mark.parametrize(("solver", "wanted", "options"), SOLVERS.values(), ids=SOLVERS)


def inputs(num: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """A velocity, x, and the point reached."""
    generator = torch.Generator().manual_seed(num)
    v, x, reached = torch.randn(3, num, 2, 3, 2, generator=generator, dtype=torch.float64)
    return v.to(dtype), x.to(dtype), reached.to(dtype)


@EACH
@pytest.mark.parametrize(("t", "s"), PAIRS)
@pytest.mark.parametrize("kind", ["python", "0-dim", "a row each", "float32"])
def test_transitions_agree_with_the_reference(kind, t, s, solver, wanted, options) -> None:
    v, x, _ = inputs(3)
    make = {
        "python": float,
        "0-dim": lambda value: torch.tensor(value, dtype=torch.float64),
        "a row each": lambda value: torch.full((3,), value, dtype=torch.float64),
        "float32": lambda value: torch.tensor(value),
    }[kind]
    gaussian = solver.transition(v, x, make(t), make(s), GRID)
    mean, std = wanted(v.numpy(), x.numpy(), t, s, **options)
    tolerance = 1e-6 if kind == "float32" else 1e-10
    np.testing.assert_allclose(gaussian.mean, mean, rtol=tolerance, atol=50 * tolerance)
    np.testing.assert_allclose(
        gaussian.std.expand(3, 1, 1, 1).flatten(), [std] * 3, rtol=3 * tolerance, atol=tolerance
    )


@EACH
def test_each_row_has_a_time_of_its_own(solver, wanted, options) -> None:
    v, x, reached = inputs(len(PAIRS))
    t, s = torch.tensor(PAIRS, dtype=torch.float64).T
    gaussian = solver.transition(v, x, t, s, GRID)
    log_prob = gaussian.log_prob(reached)
    for i, (t_, s_) in enumerate(PAIRS):
        mean, std = wanted(v[i].numpy(), x[i].numpy(), t_, s_, **options)
        np.testing.assert_allclose(gaussian.mean[i], mean, atol=1e-10)
        if isinstance(solver, CPS):
            expected = reference.cps_log_prob(reached[i].numpy(), mean)
        elif std > 0:
            expected = reference.log_normal(reached[i].numpy(), mean, std)
        else:
            continue
        np.testing.assert_allclose(float(log_prob[i]), expected, rtol=2e-6)
    assert log_prob.dtype == torch.float32


@EACH
def test_float32_latents_stay_float32(solver, wanted, options) -> None:
    v, x, _ = inputs(3, torch.float32)
    gaussian = solver.transition(v, x, GRID[1], GRID[2], GRID)
    mean, std = wanted(*(reference.array(a) for a in (v, x)), 0.9601, 0.7904, **options)
    assert gaussian.mean.dtype == gaussian.std.dtype == torch.float32
    assert gaussian.sample(Draws(0, "t", 0, torch.arange(3))).dtype == torch.float32
    np.testing.assert_allclose(gaussian.mean, mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(float(gaussian.std.flatten()[0]), std, rtol=1e-5, atol=1e-7)


@EACH
def test_a_sample_is_the_mean_plus_the_rows_own_noise(solver, wanted, options) -> None:
    v, x, _ = inputs(4)
    gaussian = solver.transition(v, x, 0.7904, 0.5, GRID)
    draws = Draws(3, "t", 1, torch.tensor([5, 6, 7, 8]))
    noise = draws.normal((2, 3, 2)).double()
    torch.testing.assert_close(gaussian.sample(draws), gaussian.mean + gaussian.std * noise)


@EACH
def test_a_path_keeps_every_point_and_its_log_probability_but_the_last(
    solver, wanted, options
) -> None:
    _, x, _ = inputs(3, torch.float32)
    draws = Draws(0, "t", 0, torch.arange(3))

    def field(x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(x) * t.to(x)

    path = solver.integrate(field, x, GRID, draws)
    assert path.num_evals == 5
    assert path.x.shape == (3, 6, 2, 3, 2)
    assert torch.equal(path.x[:, 0], x)
    assert torch.equal(path.x[:, -1], path.clean)
    assert torch.equal(path.grid, GRID)
    assert path.log_prob.isnan().tolist() == [[False] * 4 + [True]] * 3
    for i in range(4):
        gaussian = solver.transition(
            field(path.x[:, i], GRID[i]), path.x[:, i], GRID[i], GRID[i + 1], GRID
        )
        assert torch.equal(path.log_prob[:, i], gaussian.log_prob(path.x[:, i + 1]))
        assert torch.equal(path.x[:, i + 1], gaussian.sample(draws.at(i)))


@EACH
def test_rows_do_not_depend_on_their_batch(solver, wanted, options) -> None:
    _, x, _ = inputs(5)
    keys = Draws(0, "t", 0, torch.tensor([9, 2, 7, 4, 1]))

    def field(x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(x) * t

    whole = solver.integrate(field, x, GRID, keys)
    for part in (torch.tensor([3]), torch.tensor([0, 4]), torch.tensor([2, 1])):
        some = solver.integrate(field, x[part], GRID, keys.take(part))
        assert torch.equal(some.clean, whole.clean[part])
        assert torch.equal(some.log_prob[:, :-1], whole.log_prob[part][:, :-1])


@EACH
def test_no_rows_give_no_rows(solver, wanted, options) -> None:
    none = torch.zeros(0, 2, 2)
    path = solver.integrate(lambda x, t: x, none, GRID, Draws(0, "t", 0, torch.arange(0)))
    assert path.clean.shape == (0, 2, 2)
    assert path.log_prob.shape == (0, 5)


def test_flow_sde_at_noise_uses_the_grids_second_point_only_there() -> None:
    v, x, _ = inputs(2)
    t, s = torch.tensor([[1.0, 0.999], [0.9, 0.9]], dtype=torch.float64)
    std = FlowSDE().transition(v, x, t, s, GRID).std.flatten()
    at_noise = 0.7 * math.sqrt(1 / (1 - SECOND)) * math.sqrt(0.1)
    below = 0.7 * math.sqrt(0.999 / 0.001) * math.sqrt(0.099)
    np.testing.assert_allclose(std, [at_noise, below])


def test_the_log_probability_is_that_of_torch_distributions() -> None:
    _, mean, value = inputs(4)
    std = torch.tensor([0.1, 1.0, 3.0, 20.0]).double().reshape(4, 1, 1, 1)
    found = Gaussian(mean, std).log_prob(value)
    wanted = torch.distributions.Normal(mean, std).log_prob(value).flatten(1).mean(1)
    torch.testing.assert_close(found, wanted.float())


@pytest.mark.parametrize(
    ("kind", "name", "published"),
    [(FlowSDE, "noise_level", 0.7), (DanceSDE, "noise_level", 0.3), (DDIM, "eta", 1.0)],
)
def test_defaults_are_the_published_ones(kind, name, published) -> None:
    assert signature(kind).parameters[name].default == published
