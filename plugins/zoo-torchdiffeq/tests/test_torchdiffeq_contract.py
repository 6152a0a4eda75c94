"""The solvers keep the promises that `zoo.testing` publishes, whatever their options.

With their defaults zoo's own tests/contracts/test_solvers.py asks them, as every solver that is
installed.
"""

import pytest
from zoo_torchdiffeq.adams import ExplicitAdams, ImplicitAdams
from zoo_torchdiffeq.adaptive import AdaptiveHeun, DormandPrince5, DormandPrince8
from zoo_torchdiffeq.fixed import Heun3
from zoo_torchdiffeq.scipy_solver import SciPy

from zoo.testing import SolverTests

OTHERS = {
    "heun3 perturbed": (Heun3, {"perturb": True}),
    "explicit_adams perturbed": (ExplicitAdams, {"perturb": True, "max_order": 6}),
    "implicit_adams of order 8": (ImplicitAdams, {"max_order": 8, "max_iters": 20}),
    "adaptive_heun with longer steps": (AdaptiveHeun, {"min_step": 0.02, "first_step": 0.3}),
    "dopri5 by the batch": (DormandPrince5, {"norm": "batch", "rtol": 1e-4, "atol": 1e-4}),
    "dopri5 of short steps": (DormandPrince5, {"max_step": 0.03}),
    "dopri8 of a first step past the end": (DormandPrince8, {"first_step": 7.0}),
    **{f"scipy's {method}": (SciPy, {"method": method}) for method in (
        "RK23", "DOP853", "Radau", "BDF", "LSODA"
    )},
}  # fmt: skip


@pytest.mark.fast_cases(2)
class TestOtherOptions(SolverTests):
    @pytest.fixture(autouse=True, params=OTHERS.values(), ids=OTHERS)
    def one(self, request):
        self.cls, self.options = request.param

    def make(self):
        return self.cls(**self.options)
