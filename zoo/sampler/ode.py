"""Deterministic solvers of dx/dt = v(x, t) from noise at t = 1 to data at t = 0.

Coefficients are float64 scalars; the latents stay in their own dtype.
"""

import math
from dataclasses import dataclass

from zoo.flow import clean_from
from zoo.sampler.base import Field, Latents, Real, Step, StepSolver
from zoo.seeds import Draws


class Euler(StepSolver):
    """Euler's method: first order, one evaluation a step."""

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: None, draws: Draws) -> Step:
        """X + v dt."""
        return Step(x + (s - t) * field(x, t))


class Heun(StepSolver):
    """Heun's method (explicit trapezoid): second order, two evaluations a step, the last at 0."""

    evals_per_step = 2

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: None, draws: Draws) -> Step:
        """X plus dt times the mean velocity of both ends, the far end reached by Euler."""
        here = field(x, t)
        there = field(x + (s - t) * here, s)
        return Step(x + (s - t) * (here + there) / 2)


@dataclass(frozen=True)
class _Before:
    """The step before: its clean prediction and its t."""

    clean: Latents
    t: float


_Last = _Before | None
"""None at the first step."""


class DPMSolver2M(StepSolver):
    """DPM-Solver++(2M), Lu et al. 2022 (arXiv 2211.01095), on the flow's alpha = 1 - t, sigma = t.

    Second order with one evaluation a step: it reuses the clean prediction of the step before. The
    first and the last step are first order, and so is the second where the grid starts at t = 1
    (the log signal-to-noise is -inf there).
    """

    def step(self, field: Field, x: Latents, t: Real, s: Real, state: _Last, draws: Draws) -> Step:
        """(s / t) x - (1 - s) (e^-h - 1) D, D extrapolated from the last two clean predictions."""
        t_, s_ = float(t), float(s)
        clean = clean_from(x, field(x, t), t)
        direction = clean
        if state is not None and s_ > 0 and state.t < 1:
            h, h_before = (
                _half_log_snr(s_) - _half_log_snr(t_),
                _half_log_snr(t_) - _half_log_snr(state.t),
            )
            direction = clean + (clean - state.clean) * (h / (2 * h_before))
        # e^-h written without the logarithms is exact at t = 1 and at s = 0.
        exp_minus_h = ((1 - t_) * s_) / ((1 - s_) * t_)
        return Step((s_ / t_) * x + (1 - s_) * (1 - exp_minus_h) * direction, _Before(clean, t_))


def _half_log_snr(t: float) -> float:
    """Lambda: log(alpha / sigma)."""
    return math.log((1 - t) / t)
