"""Times and predictions of schedulers, as those of a flow: against a Gaussian, in float64."""

from types import SimpleNamespace

import diffusers
import pytest
import torch

from zoo.policy.pipeline.clock import read_clock
from zoo.policy.pipeline.contract import UnsupportedError

DEVIATION = 0.7
"""Of the data, of one dimension and mean 0.3."""
MEAN = 0.3


def gaussian(t):
    """The exact velocity E[eps - x0 | x_t] of that data, with alpha = 1 - t and sigma = t."""

    def velocity(x):
        variance = (1 - t) ** 2 * DEVIATION**2 + t**2
        inner = (x - (1 - t) * MEAN) / variance
        return t * inner - (MEAN + (1 - t) * DEVIATION**2 * inner)

    return velocity


def predicted(kind, alphas, step, x):
    """What a perfect network of a variance-preserving process says at a step, in float64."""
    alpha, sigma = alphas[step].sqrt(), (1 - alphas[step]).sqrt()
    variance = alpha**2 * DEVIATION**2 + sigma**2
    inner = (x - alpha * MEAN) / variance
    noise, clean = sigma * inner, MEAN + alpha * DEVIATION**2 * inner
    return noise if kind == "epsilon" else alpha * noise - sigma * clean


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_predictions_of_noise_and_of_v_are_the_velocity_of_the_same_flow(kind):
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", prediction_type=kind)
    clock = read_clock(scheduler, lambda n: None)
    alphas = scheduler.alphas_cumprod.double()
    for step in (10, 300, 700, 980):
        t = (1 - alphas[step]).sqrt() / ((1 - alphas[step]).sqrt() + alphas[step].sqrt())
        x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
        asked = []

        def ask(inner, times, step=step, asked=asked):
            asked.append(times)
            return predicted(kind, alphas, step, inner)

        got = clock.velocity(ask, x, t.expand(5))
        assert float((asked[0] * clock.scale - step).abs().max()) < 1e-2
        wanted = gaussian(float(t))(x)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_grid_of_noise_starts_below_one_and_ends_at_zero():
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear")
    clock = read_clock(scheduler, lambda n: None)
    scheduler.set_timesteps(10)
    grid = clock.grid(scheduler)
    assert len(grid) == 11
    assert 0.9 < float(grid[0]) < 1
    assert float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())
    alphas = scheduler.alphas_cumprod.double()[scheduler.timesteps]
    assert torch.allclose(grid[:-1], (1 - alphas).sqrt() / (alphas.sqrt() + (1 - alphas).sqrt()))


def flow_clock(**options):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**options)

    def set_grid(steps):
        scheduler.set_timesteps(steps)
        return scheduler

    return read_clock(scheduler, set_grid), set_grid


def test_a_flow_is_asked_as_it_is():
    clock, set_grid = flow_clock(shift=3.0)
    x, t = torch.randn(2, 3), torch.tensor([0.9, 0.2])
    assert torch.equal(clock.velocity(lambda x, t: x * t[:, None], x, t), x * t[:, None])
    assert torch.equal(clock.grid(set_grid(4)), set_grid(4).sigmas.double())


def test_times_that_count_from_noise_are_turned_round():
    clock, set_grid = flow_clock(invert_sigmas=True)
    grid = clock.grid(set_grid(4))
    assert float(grid[0]) == 1
    assert float(grid[-1]) == 0
    x, t = torch.randn(2, 3), torch.tensor([0.9, 0.2])
    got = clock.velocity(lambda x, t: x * t[:, None], x, t)
    torch.testing.assert_close(got, -x * (1 - t)[:, None])


def test_another_process_is_refused():
    scheduler = diffusers.EDMEulerScheduler()
    with pytest.raises(UnsupportedError, match=r"EDMEulerScheduler.*neither a flow's"):
        read_clock(scheduler, lambda n: SimpleNamespace())
