"""torchdiffeq's adaptive Runge-Kutta methods, from the grid's first time straight to 0.

They choose their steps by an estimate of the error: of the grid they take the ends alone, and
`sampler.steps` matters only to an objective that trains at the grid's times.

torchdiffeq lets the last step go past the end and interpolates back, asking models for times below
0 that they do not know. Here 0 is a point that steps must meet (its `step_t`): the last step is
shortened to end there, so nothing is asked outside the grid. torchdiffeq evaluates its polynomial
at the step's very end, where it is the solution but for rounding (1e-5 in float32).
"""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from zoo.rollout import Path
from zoo.sampler.base import Field, Grid, Latents, Solver
from zoo.seeds import Draws
from zoo_torchdiffeq.error import IntegrationError
from zoo_torchdiffeq.field import TorchdiffeqField


class Adaptive(Solver):
    """One of torchdiffeq's embedded pairs."""

    method: ClassVar[str]
    """Its name there."""

    def __init__(
        self,
        *,
        rtol: Annotated[float, Ge(0)] = 1e-3,
        atol: Annotated[float, Gt(0)] = 1e-3,
        norm: Literal["row", "batch"] = "row",
        max_num_steps: Annotated[int, Ge(1)] = 1000,
        first_step: Annotated[float, Gt(0)] | None = None,
        min_step: Annotated[float, Ge(0)] = 0.0,
        max_step: Annotated[float, Gt(0)] | None = None,
        safety: Annotated[float, Gt(0), Lt(1)] = 0.9,
        ifactor: Annotated[float, Gt(1)] = 10.0,
        dfactor: Annotated[float, Gt(0), Le(1)] = 0.2,
    ) -> None:
        """A step is taken where its estimated error is within atol + rtol |x|, else made smaller.

        Evaluations depend on the data. All rows of a batch share their steps, so an image depends
        on its batch, within the tolerances.

        Args:
            rtol: relative tolerance.
            atol: absolute tolerance; latents are of the order of 1.
            norm: row: each image's root mean square is within the tolerances; batch: only that
                over the whole batch is, as torchdiffeq has it, cheaper where a few images are hard.
            max_num_steps: steps tried, at most; beyond it is an error.
            first_step: the first step tried, as a length of time; none: estimated, which costs an
                evaluation.
            min_step: steps of this length are taken whatever their error.
            max_step: none are longer.
            safety: the share of the step that would just meet the tolerances which is tried next.
            ifactor: the most that a step may grow at once.
            dfactor: the most that a step may shrink at once, as a factor.
        """
        if max_step is not None and max_step < min_step:
            raise ValueError(f"max_step is {max_step}, less than min_step, which is {min_step}")
        self.rtol, self.atol, self.max_num_steps = rtol, atol, max_num_steps
        self._options: dict[str, object] = {
            "first_step": first_step,
            "min_step": min_step,
            "max_step": float("inf") if max_step is None else max_step,
            "safety": safety,
            "ifactor": ifactor,
            "dfactor": dfactor,
        }
        if norm == "row":
            self._options["norm"] = _worst_row

    def integrate(self, field: Field, x: Latents, grid: Grid, draws: Draws) -> Path:
        """From grid[0] to 0, whatever is between.

        Raises:
            IntegrationError: it cannot get there.
        """
        from torchdiffeq import odeint

        counted = _Watched(field, grid, self)
        ends = grid[[0, -1]].to(x.device)
        options = {"step_t": ends[1:], **self._options}
        path = odeint(
            counted, x, ends, method=self.method, rtol=self.rtol, atol=self.atol, options=options
        )
        return Path(path[-1], counted.num_evals)

    def num_evals(self, num_steps: int) -> None:
        """As many as the data needs."""


class _Watched(TorchdiffeqField):
    """The field, and a look at every step before torchdiffeq tries it.

    torchdiffeq's own checks are assertions, which `python -O` leaves out, and then it never ends.
    """

    def __init__(self, field: Field, grid: Tensor, solver: Adaptive) -> None:
        super().__init__(field, grid[0], grid[-1])
        self._solver = solver
        self._num_steps = 0

    def callback_step(self, t: Tensor, x: Tensor, dt: Tensor) -> None:
        """Called by torchdiffeq; refuses a step that leads nowhere."""
        solver = self._solver
        if not bool(x.isfinite().all()):
            self._stop(t, "the latents are not finite; look at the model's velocity")
        if not bool(t - dt < t):
            self._stop(
                t,
                "the step shrank to nothing: the velocity is not finite there, or too rough for "
                f"rtol {solver.rtol:g} and atol {solver.atol:g}; raise them, or set min_step",
            )
        if self._num_steps == solver.max_num_steps:
            self._stop(
                t,
                f"max_num_steps is {solver.max_num_steps}; raise it, or rtol {solver.rtol:g} "
                f"and atol {solver.atol:g}",
            )
        self._num_steps += 1

    def _stop(self, t: Tensor, why: str) -> None:
        raise IntegrationError(
            f"{self._solver.method} stopped at t = {float(t):.3g} after {self._num_steps} steps: "
            f"{why}"
        )


def _worst_row(scaled: Tensor) -> Tensor:
    """The largest root mean square of a row."""
    return scaled.flatten(1).square().mean(1).sqrt().max()


class AdaptiveHeun(Adaptive):
    """Heun's method with Euler's as its error estimate, torchdiffeq's `adaptive_heun`: order 2."""

    method = "adaptive_heun"


class Fehlberg2(Adaptive):
    """Fehlberg's pair of orders 1 and 2, torchdiffeq's `fehlberg2`: 2 evaluations a step."""

    method = "fehlberg2"


class BogackiShampine3(Adaptive):
    """Bogacki and Shampine's pair of orders 2 and 3 (1989), torchdiffeq's `bosh3`: 3 a step."""

    method = "bosh3"


class DormandPrince5(Adaptive):
    """Dormand and Prince's pair of orders 4 and 5 (1980), torchdiffeq's `dopri5`: 6 a step.

    The usual choice where accuracy matters: images near the model's exact ODE solution. Steps are
    as long as keeps each image's estimated error within atol + rtol |x|.
    """

    method = "dopri5"


class DormandPrince8(Adaptive):
    """Dormand and Prince's pair of orders 7 and 8 (1981), torchdiffeq's `dopri8`: 13 a step.

    For tight tolerances on float64 latents alone; float32 rounds before it pays.
    """

    method = "dopri8"
