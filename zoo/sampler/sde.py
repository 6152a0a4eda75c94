"""Stochastic transitions: what Flow-GRPO and its kin explore with.

As the steps shrink all have the ODE's marginals but CPS, which shrinks the spread of the data. In
all of them dt = s - t < 0, and the clean and noise predictions are those of the velocity.
"""

import math
from typing import Annotated

import torch
from annotated_types import Gt, Le
from jaxtyping import Float
from torch import Tensor

from zoo.flow import Time, clean_from, noise_from, over_latent
from zoo.sampler.base import Gaussian, Grid, Latents, StochasticSolver


class FlowSDE(StochasticSolver):
    """Flow-GRPO's reverse SDE by Euler-Maruyama (arXiv 2505.05470, eq. 9).

    sigma_t = noise_level sqrt(t / (1 - t)). At t = 1, where sigma is infinite, 1 - t is replaced by
    1 - t_1 of the grid's second point, as published.
    """

    def __init__(self, *, noise_level: Annotated[float, Gt(0)] = 0.7) -> None:
        """`noise_level` scales sigma_t; 0.7 is published."""
        self.noise_level = noise_level

    def transition(self, velocity: Latents, x: Latents, t: Time, s: Time, grid: Grid) -> Gaussian:
        """Mean x (1 + g dt) + v (1 + g (1 - t)) dt, g = sigma^2 / (2 t); std sigma sqrt(-dt)."""
        second = over_latent(grid[1], x)
        t, s = over_latent(t, x), over_latent(s, x)
        dt = s - t
        sigma = self.noise_level * (t / (1 - torch.where(t == 1, second, t))).sqrt()
        drift = sigma.square() / (2 * t)
        return Gaussian(
            x * (1 + drift * dt) + velocity * (1 + drift * (1 - t)) * dt, sigma * (-dt).sqrt()
        )


class DanceSDE(StochasticSolver):
    """DanceGRPO's SDE (arXiv 2505.07818): the same noise level at every t."""

    def __init__(self, *, noise_level: Annotated[float, Gt(0)] = 0.3) -> None:
        """`noise_level` is epsilon_t of the paper; 0.3 is published."""
        self.noise_level = noise_level

    def transition(self, velocity: Latents, x: Latents, t: Time, s: Time, grid: Grid) -> Gaussian:
        """Mean x + v dt + n^2 / 2 (x - (1 - t) clean) / t^2 dt, std n sqrt(-dt), n noise_level."""
        clean = clean_from(x, velocity, t)
        t, s = over_latent(t, x), over_latent(s, x)
        dt = s - t
        pull = self.noise_level**2 / 2 * (x - (1 - t) * clean) / t.square()
        return Gaussian(x + velocity * dt + pull * dt, self.noise_level * (-dt).sqrt())


class DDIM(StochasticSolver):
    """DDIM with eta (arXiv 2010.02502, eq. 16), alpha = 1 - t, sigma = t; eta 1 is ancestral."""

    def __init__(self, *, eta: Annotated[float, Gt(0), Le(1)] = 1.0) -> None:
        """`eta` in (0, 1] scales the noise."""
        self.eta = eta

    def transition(self, velocity: Latents, x: Latents, t: Time, s: Time, grid: Grid) -> Gaussian:
        """Mean (1 - s) clean + sqrt(s^2 - rho^2) noise, std rho."""
        clean, noise = clean_from(x, velocity, t), noise_from(x, velocity, t)
        t, s = over_latent(t, x), over_latent(s, x)
        rho = self.eta * s * (1 - (s * (1 - t) / (t * (1 - s))).square()).clamp(min=0).sqrt()
        return Gaussian(
            (1 - s) * clean + (s.square() - rho.square()).clamp(min=0).sqrt() * noise, rho
        )


class CPS(StochasticSolver):
    """Coefficient-preserving sampling (arXiv 2509.05952): the noise added is the noise taken out.

    Its log-probability is the published one, -mean (x_s - mean)^2, without the normaliser.
    """

    normalised = False

    def __init__(self, *, eta: Annotated[float, Gt(0), Le(1)] = 0.9) -> None:
        """`eta` in (0, 1]: the share of fresh noise, as an angle of eta pi / 2."""
        self.eta = eta

    def transition(self, velocity: Latents, x: Latents, t: Time, s: Time, grid: Grid) -> Gaussian:
        """Mean (1 - s) clean + s cos(eta pi / 2) noise, std s sin(eta pi / 2)."""
        clean, noise = clean_from(x, velocity, t), noise_from(x, velocity, t)
        s = over_latent(s, x)
        angle = self.eta * math.pi / 2
        return _WithoutNormaliser(
            (1 - s) * clean + s * math.cos(angle) * noise, s * math.sin(angle)
        )


class _WithoutNormaliser(Gaussian):
    """A Gaussian whose log-probability is CPS's."""

    def log_prob(self, value: Latents) -> Float[Tensor, " batch"]:
        """The negative squared distance to the mean, averaged over latent axes."""
        return -(value.float() - self.mean.float()).square().flatten(1).mean(1)
