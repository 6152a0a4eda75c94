"""Noise in a window of steps alone: a stochastic solver inside it, a deterministic one outside.

Flow-GRPO-Fast, of the code published with arXiv 2505.05470, and MixGRPO (Li et al. 2025, arXiv
2507.21802). Only the window's steps are trained on, so an epoch has that many fewer gradients.

Departs from them: the window is the same for all images of an epoch, and it stays among the steps
that have a log-probability, so every epoch trains as many (MixGRPO's code lets it shrink at the
end). What it places by iteration is placed by epoch. Where it is, is a function of seed and epoch.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from jaxtyping import Bool
from torch import Tensor

from zoo import seeds
from zoo.errors import MisfitError
from zoo.flow import Time
from zoo.sampler.base import (
    Field,
    Gaussian,
    Grid,
    Latents,
    Real,
    Step,
    StepSolver,
    StochasticSolver,
)
from zoo.seeds import Draws

Moves = Literal["never", "slide", "random", "progressive", "decay", "exp_decay"]

_STRIDE = 1
"""MixGRPO's."""
_EVERY = {"slide": 25, "progressive": 25, "decay": 10, "exp_decay": 25}
"""Epochs at the first place of a window that moves so: MixGRPO's."""
_FLAT, _RATE = 13, 0.1
"""From which step on, and how fast, MixGRPO's exp_decay falls."""


@dataclass(frozen=True)
class _Place:
    """The step that comes next, and what the solver of the step before carries on."""

    index: int
    grid: Grid
    carried: Any = None


class SDEWindow(StochasticSolver):
    """Stochastic in a window of steps, deterministic outside (Flow-GRPO-Fast, MixGRPO).

    An objective trains on the window's steps alone: fewer of them, so faster epochs. Flow-GRPO-Fast
    is `{size: 2, end: 5, moves: random}` of 10 steps, MixGRPO `{size: 4, moves: progressive}` of
    25, Flash-GRPO (arXiv 2605.15980) `{size: 1, moves: random}`, but that its step is each prompt's
    own. A solver of several steps (dpm2) starts anew behind the window.
    """

    def __init__(
        self,
        *,
        inside: StochasticSolver,
        outside: StepSolver,
        size: Annotated[int, Ge(1)],
        start: Annotated[int, Ge(0)] = 0,
        end: Annotated[int, Ge(1)] | None = None,
        moves: Moves = "never",
        stride: Annotated[int, Ge(1)] | None = None,
        every: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        """Steps count from 0, at the noise.

        Args:
            inside: takes the window's steps, such as {name: flow_sde}.
            outside: takes the others, such as {name: euler}; it must be deterministic.
            size: steps in the window.
            start: the window's first step, or the first that it may have where it moves.
            end: the step that a window which moves must end before; none: the one that ends at 0,
                which has no log-probability and is never in it.
            moves: never; slide: from `start` on by `stride` every so many epochs, and it stays at
                the end; progressive: from there back to the start; decay and exp_decay: so too, and
                it stays ever shorter, evenly from `every` epochs down to 1 at the end, or from step
                13 on by a tenth a step; random: somewhere else every epoch.
            stride: steps that it slides; 1 where it is not given, as MixGRPO's.
            every: epochs between slides, at the start; where it is not given 25, and 10 for decay,
                as MixGRPO's.
        """
        _require_deterministic(outside)
        if isinstance(inside, SDEWindow):
            raise ValueError(
                "inside is a window itself; write one whose every step is stochastic, "
                "such as inside: {name: flow_sde}"
            )
        if moves not in _EVERY and (stride is not None or every is not None):
            raise ValueError(
                f"stride and every are for moves: slide, and moves is {moves}; remove them, or "
                "write slide, progressive, decay or exp_decay"
            )
        if moves == "never" and end is not None:
            raise ValueError(
                "end is for a window that moves, and moves is never; remove it or write "
                "moves: slide or moves: random"
            )
        if end is not None and end - start < size:
            raise ValueError(
                f"a window of {size} steps does not fit between start {start} and end {end}; "
                f"write a size of at most {max(0, end - start)}, or an end of at least "
                f"{start + size}"
            )
        self.inside = inside
        self.normalised = inside.normalised
        self.outside = outside
        self.size = size
        self.first = start
        self.end = end
        self.moves: Moves = moves
        self.stride = _STRIDE if stride is None else stride
        self.every = _EVERY.get(moves, 1) if every is None else every

    def window(self, grid: Grid, draws: Draws) -> range:
        """The stochastic steps of the run and epoch of `draws`; none of a grid of one step.

        Raises:
            MisfitError: the grid has not enough steps.
        """
        room = int(self.inside.has_density(grid, draws).sum())
        if room == 0:
            return range(0)
        end = room if self.end is None else self.end
        if end > room or self.first + self.size > end:
            reach = self.first + self.size if self.end is None else end
            raise MisfitError(
                ("sampler", "solver"),
                f"the window of the solver reaches up to step {reach} (size {self.size}, start "
                f"{self.first}, end {self.end}), but of {len(grid) - 1} sampling steps only the "
                f"first {room} have a log-probability; write a smaller size, start or end in "
                "sampler.solver, or more sampler.steps",
            )
        last = end - self.size
        first = self.first
        if self.moves == "slide":
            # What is measured before the first epoch has epoch -1.
            slides = max(0, draws.epoch) // self.every
            first = min(first + self.stride * slides, last)
        elif self.moves in _EVERY:
            first = self._place_of(max(0, draws.epoch), last)
        elif self.moves == "random":
            places = seeds.order(
                last - first + 1, seed=draws.seed, purpose="sde_window", epoch=draws.epoch
            )
            first += int(places[0])
        return range(first, first + self.size)

    def _place_of(self, epoch: int, last: int) -> int:
        """The first step of a window that goes round, of which it is at each for some epochs."""
        places = range(self.first, last + 1, self.stride)
        stays = [self._stay(place, i / max(1, len(places) - 1)) for i, place in enumerate(places)]
        left = epoch % sum(stays)
        for place, stay in zip(places, stays, strict=True):
            if left < stay:
                return place
            left -= stay
        raise AssertionError("an epoch is within the round")

    def _stay(self, place: int, part: float) -> int:
        """Epochs at a place, which is so far along the way, from 0 to 1."""
        if self.moves == "decay":
            return round(self.every + (1 - self.every) * part)
        if self.moves == "exp_decay":
            return math.ceil(self.every * math.exp(-_RATE * max(0, place - _FLAT)))
        return self.every

    def has_density(self, grid: Grid, draws: Draws) -> Bool[Tensor, " num_steps"]:
        """The window's steps."""
        window, step = self.window(grid, draws), torch.arange(len(grid) - 1)
        return (step >= window.start) & (step < window.stop)

    def start(self, grid: Grid) -> _Place:
        """Before step 0."""
        return _Place(0, grid)

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: _Place, draws: Draws) -> Step:
        """A step of the solver inside or of the one outside, which starts anew at the edges."""
        index, window = state.index, self.window(state.grid, draws)
        solver: StepSolver = self.inside if index in window else self.outside
        anew = index in (0, window.start, window.stop)
        carried = solver.start(state.grid) if anew else state.carried
        after = solver.step(field, x, t, s, carried, draws)
        place = _Place(index + 1, state.grid, after.state)
        return Step(after.x, place, after.log_prob, after.mean)

    def transition(self, velocity: Latents, x: Latents, t: Time, s: Time, grid: Grid) -> Gaussian:
        """That of the solver inside, which holds for the window's steps alone."""
        return self.inside.transition(velocity, x, t, s, grid)

    def num_evals(self, num_steps: int) -> int:
        """As many of each solver's as it has steps."""
        within = self.size if num_steps > 1 else 0
        return self.inside.num_evals(within) + self.outside.num_evals(num_steps - within)


def _require_deterministic(outside: StepSolver) -> None:
    if outside.stochastic:
        raise ValueError(
            "outside is a stochastic solver, whose noise would be added and never trained on; "
            "write a deterministic one, such as outside: {name: euler}"
        )
