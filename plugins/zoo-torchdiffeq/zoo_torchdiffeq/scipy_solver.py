"""SciPy's adaptive solvers, by the name that torchdiffeq gives its wrapper of them.

Written on SciPy itself: torchdiffeq's wrapper returns the last point reached as if it were the end
where SciPy gives up, and rounds times to the latents' type.
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt

from zoo.rollout import Path
from zoo.sampler.base import Field, Grid, Latents, Solver
from zoo.seeds import Draws
from zoo_torchdiffeq.error import IntegrationError

_IMPLICIT = ("BDF", "LSODA", "Radau")
_MOST_NUMBERS = 4096
"""A matrix of this many rows and columns has 134 MB."""


class SciPy(Solver):
    """SciPy's `solve_ivp` on the CPU in float64, from the grid's first time straight to 0.

    Slow where latents are on a GPU, and the only one here with methods for stiff velocities. The
    error is the root mean square over the whole batch: an image depends on its batch, within the
    tolerances.
    """

    def __init__(
        self,
        *,
        method: Literal["RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"] = "RK45",
        rtol: Annotated[float, Gt(0)] = 1e-3,
        atol: Annotated[float, Gt(0)] = 1e-3,
        first_step: Annotated[float, Gt(0)] | None = None,
        max_step: Annotated[float, Gt(0)] | None = None,
        max_num_evals: Annotated[int, Ge(1)] = 10_000,
    ) -> None:
        """A step is taken where its estimated error is within atol + rtol |x|, else made smaller.

        Args:
            method: one of SciPy's. Radau, BDF and LSODA are implicit and hold a matrix of all the
                batch's numbers by all: for batches of at most 4096 numbers.
            rtol: relative tolerance.
            atol: absolute tolerance; latents are of the order of 1.
            first_step: the first step tried, as a length of time; none: estimated.
            max_step: no step is longer.
            max_num_evals: evaluations, at most; beyond it is an error.
        """
        self.method = method
        self.rtol = rtol
        self.atol = atol
        self.first_step = first_step
        self.max_step = float("inf") if max_step is None else max_step
        self.max_num_evals = max_num_evals

    def integrate(self, field: Field, x: Latents, grid: Grid, draws: Draws) -> Path:
        """From grid[0] to 0, whatever is between.

        Raises:
            IntegrationError: it cannot get there.
            ValueError: an implicit method was asked for a batch of too many numbers.
        """
        from scipy.integrate import solve_ivp

        if self.method in _IMPLICIT and x.numel() > _MOST_NUMBERS:
            raise ValueError(
                f"scipy_solver's {self.method} would hold a matrix of {x.numel()} by {x.numel()} "
                f"numbers; it takes batches of at most {_MOST_NUMBERS}: write method: RK45, or a "
                "smaller engine.micro_batch.sample"
            )
        first, last = float(grid[0]), float(grid[-1])
        num_evals = 0

        def velocity(t: float, flat: Any) -> Any:
            nonlocal num_evals
            num_evals += 1
            if num_evals > self.max_num_evals:
                raise self._error(t, f"max_num_evals is {self.max_num_evals}; raise it, or rtol")
            here = torch.as_tensor(flat).reshape(x.shape).to(x)
            time = torch.tensor(min(max(t, last), first), dtype=torch.float64)
            here_velocity = field(here, time)
            if not bool(here_velocity.isfinite().all()):
                raise self._error(t, "the velocity is not finite there; look at the model")
            return here_velocity.detach().flatten().cpu().numpy().astype(np.float64)

        start = x.detach().flatten().cpu().numpy().astype(np.float64)
        solution = solve_ivp(
            velocity, (first, last), start, method=self.method, rtol=self.rtol, atol=self.atol,
            first_step=self.first_step, max_step=self.max_step,
        )  # fmt: skip
        if not solution.success:
            raise self._error(float("nan"), " ".join(solution.message.split()))
        return Path(torch.as_tensor(solution.y[:, -1]).reshape(x.shape).to(x), num_evals)

    def num_evals(self, num_steps: int) -> None:
        """As many as the data needs."""

    def _error(self, t: float, why: str) -> IntegrationError:
        where = "" if t != t else f" at t = {t:.3g}"
        return IntegrationError(f"scipy_solver's {self.method} stopped{where}: {why}")
