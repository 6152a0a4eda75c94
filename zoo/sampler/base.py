"""The Sampler and Solver interfaces: how images are collected.

What a recipe names as its sampler is a source of images, of one of two kinds: a `Sampler` makes
them, `StoredImages` come with the prompts. A sampler turns one micro-batch of prompts into clean
latents. The usual one runs a solver over the policy's grid; a solver integrates dx/dt = field(x, t)
from grid[0] to 0 and knows nothing of models, prompts or rewards.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from jaxtyping import Bool, Float
from torch import Tensor

from zoo.flow import Time
from zoo.policy.base import Policy
from zoo.policy.float8 import Quantization
from zoo.prompt import Prompt
from zoo.rollout import Cond, Path
from zoo.seeds import Draws

Prompts = Sequence[Prompt]
Latents = Float[Tensor, "batch *latent"]
PerRow = Float[Tensor, " batch"]
"""A number for each row of latents."""
Grid = Float[Tensor, " num_points"]
"""Times, from the first down to 0."""
Real = Float[Tensor, ""]
"""A number, such as one time of the grid: 0-dim."""

Steps = Annotated[int, Ge(1), Le(10_000)]
"""A number of steps; published samplers take up to 1,000, and every one of them is a forward."""

Field = Callable[[Tensor, Tensor], Tensor]
"""field(x [batch, *latent], t 0-dim) -> velocity [batch, *latent]"""


class ImageSource:
    """Where an epoch's images come from; subclass `Sampler` or `StoredImages`, not this."""

    guidance: float = 1.0
    """The classifier-free guidance that prompts are encoded with; 1 is none."""

    quantization: Quantization = "none"
    """What the network's products are made in: fp8 of weights that the run has quantized."""

    solver: "Solver | None" = None
    """The solver that it runs, which an objective may ask for."""

    def grid(self, policy: Policy) -> Grid | None:
        """The times it visits, which objectives that train at the sampler's own timesteps use.

        By default none: its images come from elsewhere.
        """
        return None


class Sampler(ImageSource, ABC):
    """Makes one flat micro-batch of images: a row a prompt, as many rows out as in."""

    @abstractmethod
    def sample(
        self, policy: Policy, prompts: Prompts, cond: Cond, draws: Draws, *, keep_path: bool
    ) -> Path:
        """Clean latents, with the steps on the way if `keep_path`; each row independent."""


class StoredImages(ImageSource):
    """The images that come with the prompts: a group is a prompt's, and nothing is sampled.

    The run reads and encodes them.
    """

    cache_gb: float = 2.0
    """How much of them, encoded, a process keeps in the host's memory."""


class Solver(ABC):
    """Integrates dx/dt = field(x, t) from grid[0] to 0."""

    stochastic: ClassVar[bool] = False
    """Whether it adds noise and returns the path with its log-probabilities."""

    @abstractmethod
    def integrate(self, field: Field, x: Latents, grid: Grid, draws: Draws) -> Path:
        """From `x` at grid[0] to clean latents at 0; calls the field within [0, grid[0]] only."""

    @abstractmethod
    def num_evals(self, num_steps: int) -> int | None:
        """Evaluations of the field for so many steps; None where they depend on the data."""


@dataclass(frozen=True)
class Step:
    """A point at the next time, and what the solver carries on to the step after."""

    x: Latents
    state: Any = None
    log_prob: PerRow | None = None
    mean: Latents | None = None


class StepSolver(Solver):
    """A solver that walks the grid: its `step`, with the state passed in and out, never stored."""

    evals_per_step: ClassVar[int] = 1

    def start(self, grid: Grid) -> Any:
        """The state that the first step gets."""
        return None

    @abstractmethod
    def step(self, field: Field, x: Latents, t: Real, s: Real, state: Any, draws: Draws) -> Step:
        """From x at t to x at s < t."""

    def integrate(self, field: Field, x: Latents, grid: Grid, draws: Draws) -> Path:
        """Steps along the grid; a stochastic solver keeps points, means and log-probabilities."""
        state, xs, means, log_probs = self.start(grid), [x], [], []
        for i, (t, s) in enumerate(pairwise(grid)):
            step = self.step(field, x, t, s, state, draws.at(i))
            x, state = step.x, step.state
            if self.stochastic:
                xs.append(x)
                means.append(x if step.mean is None else step.mean)
                log_probs.append(
                    x.new_full((len(x),), torch.nan) if step.log_prob is None else step.log_prob
                )
        evals = self.num_evals(len(grid) - 1)
        if not self.stochastic:
            return Path(x, evals)
        log_prob = torch.stack(log_probs, 1)
        return Path(x, evals, torch.stack(xs, 1), grid, log_prob, torch.stack(means, 1))

    def num_evals(self, num_steps: int) -> int:
        """The same number at every step."""
        return num_steps * self.evals_per_step


@dataclass(frozen=True)
class Gaussian:
    """A step's distribution, independent over the latent axes; `std` broadcasts and may be 0."""

    mean: Latents
    std: Float[Tensor, "..."]

    def sample(self, draws: Draws) -> Latents:
        """A point drawn from it."""
        return self.mean + self.std * draws.normal(tuple(self.mean.shape[1:]))

    def log_prob(self, value: Latents) -> PerRow:
        """The log-density of `value`: the mean over latent axes (not the sum), in float32."""
        mean, std, value = self.mean.float(), self.std.float(), value.float()
        density = (
            -((value - mean).square()) / (2 * std.square())
            - std.log()
            - 0.5 * math.log(2 * math.pi)
        )
        return density.flatten(1).mean(1)


class StochasticSolver(StepSolver):
    """A solver whose every step is drawn from a Gaussian, which an objective can evaluate again."""

    stochastic = True

    normalised: bool = True
    """Whether its log-probabilities are those of its Gaussians, and not of another scale."""

    @abstractmethod
    def transition(self, velocity: Latents, x: Latents, t: Time, s: Time, grid: Grid) -> Gaussian:
        """The distribution of x at s given x at t; t and s have shape [batch] or none."""

    def has_density(self, grid: Grid, draws: Draws) -> Bool[Tensor, " num_steps"]:
        """Which steps of a grid have a log-probability: all but the one that ends at 0.

        `draws` are any of the run and epoch in question, for a solver that changes with them; the
        number of such steps must not.
        """
        return grid[1:] > 0

    def start(self, grid: Grid) -> Any:
        """The whole grid, which the transition's coefficients may need."""
        return grid

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: Any, draws: Draws) -> Step:
        """A point of the transition, with its log-probability, which the last step lacks."""
        gaussian = self.transition(field(x, t), x, t, s, state)
        x = gaussian.sample(draws)
        return Step(x, state, None if s == 0 else gaussian.log_prob(x), gaussian.mean)
