"""What the solvers refuse, where they stop, and what a recipe says."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torchdiffeq._impl.odeint import SOLVERS
from zoo_torchdiffeq.adams import ImplicitAdams
from zoo_torchdiffeq.adaptive import BogackiShampine3, DormandPrince5
from zoo_torchdiffeq.error import IntegrationError
from zoo_torchdiffeq.fixed import RungeKutta4
from zoo_torchdiffeq.scipy_solver import SciPy

from zoo.cli.listing import describe
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import load_recipe
from zoo.registry import entries
from zoo.seeds import Draws

GRID = torch.linspace(1, 0, 5, dtype=torch.float64)
DRAWS = Draws(0, "test", 0, torch.arange(4))
X = DRAWS.normal((1, 3, 3))


def smooth(x: Tensor, t: Tensor) -> Tensor:
    return torch.tanh(3 * x) * (1 + t.to(x))


def broken(x: Tensor, t: Tensor) -> Tensor:
    return x * float("nan")


def broken_below_half(x: Tensor, t: Tensor) -> Tensor:
    return x if float(t) > 0.5 else x * float("nan")


def rough(x: Tensor, t: Tensor) -> Tensor:
    return 1e4 * torch.sin(1e5 * t.to(x)) * torch.ones_like(x)


@pytest.mark.parametrize("field", [broken, broken_below_half])
@pytest.mark.parametrize(
    "solver",
    [
        DormandPrince5(), DormandPrince5(min_step=0.01), DormandPrince5(first_step=0.1),
        BogackiShampine3(norm="batch"), SciPy(), SciPy(method="LSODA"), SciPy(method="BDF"),
    ],
)  # fmt: skip
def test_a_velocity_that_is_not_finite_ends_in_one_line(solver, field):
    with pytest.raises(IntegrationError, match="not finite") as caught:
        solver.integrate(field, X, GRID, DRAWS)
    assert "\n" not in str(caught.value)
    assert " stopped at t = " in str(caught.value)


def test_a_fixed_method_leaves_it_to_the_run_to_count_broken_images():
    def one_broken(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([x[:1] * float("nan"), x[1:]])

    made = RungeKutta4().integrate(one_broken, X, GRID, DRAWS)
    assert made.clean.isnan().flatten(1).all(1).tolist() == [True, False, False, False]


@pytest.mark.slow
def test_it_ends_where_python_leaves_assertions_out():
    """torchdiffeq checks its steps by assertion, and without these would try for ever."""
    said = (
        "import torch\n"
        "from zoo.seeds import Draws\n"
        "from zoo_torchdiffeq.adaptive import DormandPrince5\n"
        "draws = Draws(0, 'test', 0, torch.arange(2))\n"
        "grid = torch.tensor([1.0, 0.0], dtype=torch.float64)\n"
        "DormandPrince5().integrate(lambda x, t: x * float('nan'), torch.ones(2, 1), grid, draws)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-O", "-c", said], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert "IntegrationError: dopri5 stopped at t = 1 after 0 steps" in ended.stderr


def test_more_steps_than_allowed_are_refused_with_the_fix():
    with pytest.raises(IntegrationError, match="max_num_steps is 20; raise it, or rtol"):
        DormandPrince5(max_num_steps=20).integrate(rough, X, GRID, DRAWS)
    with pytest.raises(IntegrationError, match="max_num_evals is 100; raise it, or rtol"):
        SciPy(max_num_evals=100).integrate(rough, X, GRID, DRAWS)


def test_the_most_steps_allowed_are_taken():
    """As many as were needed do; one fewer do not."""
    needed = next(n for n in range(1, 50) if _gets_there(n))
    assert needed > 3
    assert all(_gets_there(n) for n in (needed + 1, needed + 20))


def _gets_there(num_steps: int) -> bool:
    try:
        DormandPrince5(max_num_steps=num_steps).integrate(smooth, X, GRID, DRAWS)
    except IntegrationError:
        return False
    return True


def test_each_rows_error_counts_unless_the_norm_is_of_the_batch():
    """A hard row among many easy ones: alone it takes its steps, in the batch's mean it drowns."""
    easy, hard = torch.full((63, 1), 20.0, dtype=torch.float64), torch.full((1, 1), 0.01).double()
    some = Draws(0, "test", 0, torch.arange(64))

    def found(norm: str, x: Tensor) -> tuple[Tensor, int]:
        solver = DormandPrince5(norm=norm, rtol=1e-5, atol=1e-5)
        path = solver.integrate(lambda x, t: -30 * torch.sin(x), x, GRID, some)
        return path.clean[-1:], path.num_evals

    alone, _ = found("row", hard)
    by_row, evals = found("row", torch.cat([easy, hard]))
    _, fewer = found("batch", torch.cat([easy * 0, hard]))
    torch.testing.assert_close(by_row, alone, rtol=0, atol=1e-4)
    assert fewer < evals


def test_a_row_that_fills_up_a_batch_changes_nothing_where_the_norm_is_of_the_row():
    solver = DormandPrince5()
    whole = solver.integrate(smooth, X, GRID, DRAWS)
    filled = solver.integrate(smooth, torch.cat([X, X[:1], X[:1]]), GRID, DRAWS)
    assert whole.num_evals == filled.num_evals
    torch.testing.assert_close(filled.clean[:4], whole.clean, rtol=0, atol=1e-6)


def test_latents_that_do_not_move_stay():
    made = DormandPrince5().integrate(lambda x, t: torch.zeros_like(x), X, GRID, DRAWS)
    torch.testing.assert_close(made.clean, X, rtol=0, atol=1e-5)
    assert made.num_evals < 100


def test_a_correction_that_does_not_converge_is_warned_of():
    with pytest.warns(UserWarning, match="did not converge"):
        ImplicitAdams(max_iters=1, rtol=0, atol=1e-12).integrate(smooth, X, GRID, DRAWS)


def test_implicit_methods_refuse_what_needs_a_matrix_too_large():
    x = torch.zeros(2, 3000)
    with pytest.raises(ValueError, match=r"6000 by 6000 numbers; .* method: RK45"):
        SciPy(method="BDF").integrate(smooth, x, GRID, Draws(0, "test", 0, torch.arange(2)))


def test_a_longest_step_below_the_shortest_is_refused():
    with pytest.raises(ValueError, match=r"max_step is 0.1, less than min_step, which is 0.2"):
        DormandPrince5(min_step=0.2, max_step=0.1)


def test_every_method_of_torchdiffeq_has_a_name_here():
    """`euler` is built in."""
    here = {entry.name for entry in entries("solvers") if entry.package == "zoo-torchdiffeq"}
    assert here == SOLVERS.keys() - {"euler"}


def test_no_other_package_of_this_project_has_one_of_the_names():
    names = [entry.name for entry in entries("solvers")]
    assert len(names) == len(set(names))


def test_a_recipe_names_them_with_their_options():
    made = load_recipe(
        "recipes/nft_digits.yaml", ["sampler.solver={name: dopri5, rtol: 1e-3, atol: 1e-4}"], None
    )
    solver = made.sampler.build({}).solver
    assert isinstance(solver, DormandPrince5)
    assert (solver.rtol, solver.atol) == (1e-3, 1e-4)
    for wrong in ("{name: dopri5, rtol: -1}", "{name: rk4, rtol: 1e-3}", "{name: dopri5, norm: x}"):
        with pytest.raises(RecipeError, match=r"sampler\.solver"):
            load_recipe("recipes/nft_digits.yaml", [f"sampler.solver={wrong}"], None)


def test_zero_3_refuses_what_depends_on_data():
    changes = ["sampler.solver={name: dopri5}", "engine.zero_stage=3", "engine.processes=2"]
    with pytest.raises(RecipeError, match="'dopri5' makes as many forwards as its data needs"):
        load_recipe("recipes/nft_digits.yaml", changes, None)


def test_describe_tells_the_options(capsys):
    describe("dopri5")
    said = capsys.readouterr().out
    for option in ("rtol", "atol", "max_num_steps", "first_step", "norm"):
        assert option in said


@pytest.mark.slow
def test_naming_one_costs_no_import_of_torchdiffeq_or_scipy():
    said = (
        "import sys; from zoo.registry import load\n"
        "for name in ('dopri5', 'rk4', 'implicit_adams', 'scipy_solver'):\n"
        "    load('solvers', name)()\n"
        "assert not {'torchdiffeq', 'scipy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", said], check=True, timeout=120)
