"""Error against evaluations of the field, for every installed deterministic solver.

    python benchmarks/solvers.py [--out FILE.png] [--images 24]

Two flows, each from the same noise: (a) that of data drawn from two Gaussians, whose solution is
known, in float64; (b) the shipped digits model, against Heun's method with 1,000 steps, in float32.
An error is the root mean square over all numbers of the clean latents. Solvers of steps run with 1
to 80 even steps, those that choose their own with tolerances (rtol = atol) of 0.3 to 1e-6.

Stochastic solvers are left out: they have no solution to be near, but a distribution, and
`tests/invariants/test_solvers.py` has its moments.

Prints a table in markdown: the least error with at most so many evaluations. Draws all points.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor

from zoo.data.digits import prompts
from zoo.policy.digits import Digits
from zoo.recipe.signature import signature
from zoo.registry import entries, load
from zoo.sampler.base import Field, Solver
from zoo.sampler.ode import Heun
from zoo.seeds import Draws

STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 40, 80)
TOLERANCES = (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6)
BUDGETS = (5, 10, 20, 40, 80)
REFERENCE_STEPS = 1000
MOST_EVALS = 200
RESULTS = Path(__file__).parents[1] / "docs" / "pictures" / "solvers.png"

CENTRES, SPREAD = (-0.9, 0.6), 0.3
"""Of the two Gaussians, half of the data each."""


@dataclass(frozen=True)
class Flow:
    """A field, where it starts and where its exact solution ends."""

    name: str
    field: Field
    noise: Tensor
    clean: Tensor


@dataclass(frozen=True)
class Point:
    """What a solver reached: evaluations and the error."""

    num_evals: int
    error: float


def two_gaussians(num: int) -> Flow:
    """Along one axis a flow keeps the order of points, so each ends at its own quantile."""
    noise = Draws(0, "solvers", 0, torch.arange(num)).normal((1, 8, 8)).double()
    centres = torch.tensor(CENTRES, dtype=torch.float64)

    def field(x: Tensor, t: Tensor) -> Tensor:
        t, apart = t.to(x), x[..., None] - (1 - t) * centres
        variance = (1 - t) ** 2 * SPREAD**2 + t**2
        share = (-apart.square() / (2 * variance)).softmax(-1)
        return (share * (-centres + (t - (1 - t) * SPREAD**2) / variance * apart)).sum(-1)

    wanted, low, high = torch.special.ndtr(noise), noise * 0 - 9, noise * 0 + 9
    for _ in range(60):
        middle = (low + high) / 2
        below = torch.special.ndtr((middle[..., None] - centres) / SPREAD).mean(-1) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return Flow("data of two Gaussians, exact solution", field, noise, middle)


def digits(num: int) -> Flow:
    """The shipped model, without guidance."""
    policy = Digits(torch.device("cpu"))
    captions = prompts("eval")
    cond = policy.encode([captions[i % len(captions)] for i in range(num)])
    draws = Draws(0, "solvers", 0, torch.arange(num))
    noise = draws.normal(policy.latent_shape)

    def field(x: Tensor, t: Tensor) -> Tensor:
        return policy.velocity(x, t.to(x).expand(len(x)), cond)

    clean = Heun().integrate(field, noise, even(REFERENCE_STEPS), draws).clean
    return Flow(f"digits model, reference: Heun, {REFERENCE_STEPS} steps", field, noise, clean)


def even(num_steps: int) -> Tensor:
    """Equal steps from 1 to 0."""
    return torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)


def solvers() -> Iterator[tuple[str, list[Callable[[], tuple[Solver, int]]], bool]]:
    """Each installed deterministic solver: its name, its settings, whether it adapts its steps.

    Where two names are one class, the first.
    """
    seen: set[type] = set()
    for entry in entries("solvers"):
        cls = load("solvers", f"{entry.package}:{entry.name}")
        if cls.stochastic or cls in seen:
            continue
        seen.add(cls)
        adapts = "rtol" in signature(cls).options and not _counts_steps(cls())
        if adapts:
            yield entry.name, [lambda c=cls, e=e: (c(rtol=e, atol=e), 1) for e in TOLERANCES], True
        else:
            yield entry.name, [lambda c=cls, n=n: (c(), n) for n in STEPS], False


def _counts_steps(solver: Solver) -> bool:
    """Whether more steps of the grid are more evaluations."""
    flow, draws = two_gaussians(1), Draws(0, "solvers", 0, torch.arange(1))
    few, many = (
        solver.integrate(flow.field, flow.noise, even(n), draws).num_evals for n in (4, 40)
    )
    return few != many


def curve(settings: list[Callable[[], tuple[Solver, int]]], flow: Flow) -> list[Point]:
    """What a solver reaches with each of its settings, by evaluations."""
    draws = Draws(0, "solvers", 0, torch.arange(len(flow.noise)))
    points = []
    for setting in settings:
        solver, steps = setting()
        known = solver.num_evals(steps)
        if known is not None and known > MOST_EVALS:
            continue
        path = solver.integrate(flow.field, flow.noise, even(steps), draws)
        error = float((path.clean - flow.clean).square().mean().sqrt())
        points.append(Point(path.num_evals, error))
        if path.num_evals > MOST_EVALS:
            break
    return sorted(points, key=lambda point: point.num_evals)


def within(points: list[Point], budget: int) -> str:
    """The least error with at most so many evaluations."""
    best = min((p.error for p in points if p.num_evals <= budget), default=math.nan)
    return "-" if math.isnan(best) else f"{best:.1e}"


def draw(
    curves: list[dict[str, list[Point]]], names: list[str], adaptive: set[str], out: Path
) -> None:
    """A panel a flow; adaptive solvers dashed."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(names), figsize=(12, 5.2), layout="constrained")
    colors = [plt.get_cmap("tab20")(i) for i in range(20)]
    for ax, title, by_solver in zip(axes, names, curves, strict=True):
        for i, (name, points) in enumerate(by_solver.items()):
            kept = [p for p in points if p.num_evals <= MOST_EVALS and p.error > 0]
            ax.loglog(
                [p.num_evals for p in kept], [p.error for p in kept], label=name, lw=1.2, ms=4,
                color=colors[i % 20], ls="--" if name in adaptive else "-",
                marker="os^vDP*X"[i % 8],
            )  # fmt: skip
        ax.set(title=title, xlabel="evaluations of the field", ylim=(1e-7, 2))
        ax.set_xticks(ticks := [1, 2, 5, 10, 20, 50, 100, 200], [str(n) for n in ticks])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("root mean square error of the clean latents")
    axes[-1].legend(
        fontsize=8, title="dashed: chooses its steps", loc="upper left", bbox_to_anchor=(1, 1)
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)


def main() -> None:
    """Measures, prints, draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--images", type=int, default=24)
    arguments = parser.parse_args()
    heads = [f"{kind}, {n}" for kind in ("Gaussians", "digits") for n in BUDGETS]
    print(f"| solver | {' | '.join(heads)} |")
    print(f"|---|{'---|' * len(heads)}")
    adaptive: set[str] = set()
    with torch.no_grad():
        flows = [two_gaussians(arguments.images), digits(arguments.images)]
        curves: list[dict[str, list[Point]]] = [{} for _ in flows]
        for name, settings, adapts in solvers():
            adaptive |= {name} if adapts else set()
            for by_solver, flow in zip(curves, flows, strict=True):
                by_solver[name] = curve(settings, flow)
            cells = [within(by_solver[name], n) for by_solver in curves for n in BUDGETS]
            print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
    draw(curves, [flow.name for flow in flows], adaptive, arguments.out)
    print(f"\n{arguments.out}")


if __name__ == "__main__":
    main()
