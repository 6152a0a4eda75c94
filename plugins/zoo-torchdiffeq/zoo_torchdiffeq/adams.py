"""torchdiffeq's Adams methods: a step reuses the velocities of the steps before.

Their coefficients are those of equal steps, so they keep their order on an even grid alone. On an
uneven one (a shifted grid, such as SD3's) torchdiffeq applies them as they are, and what is left is
second order.
"""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le
from torch import Tensor

from zoo.rollout import Path
from zoo.sampler.base import Field, Grid, Latents, Solver
from zoo.seeds import Draws
from zoo_torchdiffeq.field import TorchdiffeqField

MaxOrder = Annotated[int, Ge(4), Le(12)]

_STARTING_STEPS, _STARTING_EVALS = 2, 4
"""As torchdiffeq starts: Adams needs three velocities, and until then Kutta's 3/8 rule steps."""


class Adams(Solver):
    """torchdiffeq's method over the whole grid."""

    method: ClassVar[str]
    """Its name there."""

    def _integrate(
        self, field: Field, x: Tensor, grid: Tensor, options: dict[str, object], **tolerances: float
    ) -> Path:
        from torchdiffeq import odeint

        counted, points = TorchdiffeqField(field, grid[0], grid[-1]), grid.to(x.device)
        # Given the ends, and the grid apart, it keeps no points on the way.
        options = {**options, "grid_constructor": lambda func, start, ends: points}
        ends = points[[0, -1]]
        path = odeint(counted, x, ends, method=self.method, options=options, **tolerances)
        return Path(path[-1], counted.num_evals)


class ExplicitAdams(Adams):
    """Adams-Bashforth, torchdiffeq's `explicit_adams`: one evaluation a step, many steps' memory.

    Of order `max_order` - 1 on an even grid, of second on a shifted one. The first two steps are
    Kutta's 3/8 rule, 4 evaluations each.
    """

    method = "explicit_adams"

    def __init__(self, *, max_order: MaxOrder = 4, perturb: bool = False) -> None:
        """How far back it looks.

        Args:
            max_order: 4 to 12; torchdiffeq's 12 is unstable on velocities that turn fast.
            perturb: asks just inside a step's ends: for a field that jumps at the grid's times.
        """
        self.max_order = max_order
        self.perturb = perturb

    def integrate(self, field: Field, x: Latents, grid: Grid, draws: Draws) -> Path:
        """Along the grid."""
        options: dict[str, object] = {"max_order": self.max_order, "perturb": self.perturb}
        return self._integrate(field, x, grid, options)

    def num_evals(self, num_steps: int) -> int:
        """One a step, four at each of the first two."""
        starting = min(num_steps, _STARTING_STEPS)
        return starting * _STARTING_EVALS + num_steps - starting


class ImplicitAdams(Adams):
    """Adams-Bashforth-Moulton, torchdiffeq's `implicit_adams`, which it also calls `fixed_adams`.

    Of order `max_order` on an even grid, of second on a shifted one. After the two first steps
    (Kutta's 3/8 rule) each is predicted by Adams-Bashforth and corrected until the correction is
    within the tolerances, so evaluations depend on the data and a row's result on its batch, within
    them. Where `max_iters` corrections do not suffice torchdiffeq warns and goes on with a lower
    order: take more steps.
    """

    method = "implicit_adams"

    def __init__(
        self,
        *,
        rtol: Annotated[float, Ge(0)] = 1e-3,
        atol: Annotated[float, Gt(0)] = 1e-4,
        max_iters: Annotated[int, Ge(1)] = 4,
        max_order: MaxOrder = 4,
        perturb: bool = False,
    ) -> None:
        """Defaults are torchdiffeq's but for max_order, 12 there.

        Args:
            rtol: of a step's change, what two corrections may differ by.
            atol: added to that.
            max_iters: corrections, at most.
            max_order: 4 to 12.
            perturb: asks just inside a step's ends: for a field that jumps at the grid's times.
        """
        self.rtol = rtol
        self.atol = atol
        self.max_iters = max_iters
        self.max_order = max_order
        self.perturb = perturb

    def integrate(self, field: Field, x: Latents, grid: Grid, draws: Draws) -> Path:
        """Along the grid."""
        options: dict[str, object] = {
            "max_order": self.max_order,
            "max_iters": self.max_iters,
            "perturb": self.perturb,
        }
        return self._integrate(field, x, grid, options, rtol=self.rtol, atol=self.atol)

    def num_evals(self, num_steps: int) -> None:
        """As many as corrections need."""
