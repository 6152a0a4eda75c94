"""Real runs that measure the most memory that each of their processes holds.

Each process writes `RANK.json` under the run's `out`. Resident memory is measured above what the
process holds after a whole run of a tiny model, so that what libraries load and keep is no part of
it. Allocations of 64 kB and more are mapped one by one, so that memory which is freed goes back to
the system at once: tensors are measured, not what malloc keeps of them.
"""

import gc
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.engine.in_processes import in_processes
from tests.engine.many_runs import run_one
from tests.runs import ROOT
from zoo.plan.footprint import footprint
from zoo.plan.layout import Layout, MemoryEstimate
from zoo.plan.memory import estimate
from zoo.recipe.recipe import load_recipe

_MAPPED = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "0",
}

# Large enough that stage 3 cuts some of its parameters in pieces.
TINY = ("policy.layers=1", "policy.heads=3")

RECIPE = ROOT / "tests" / "plugin" / "random_sd3.yaml"


@contextmanager
def registered() -> Iterator[None]:
    """Inside, the policy of random weights is installed in this process."""
    from zoo import registry

    before = registry.entries
    mine = registry.Entry(
        "policies", "random_sd3", "tests.plugin.random_sd3:RandomSD3", "zoo-tests", "1"
    )

    def entries(kind: str) -> tuple[registry.Entry, ...]:
        return (*before(kind), mine) if kind == "policies" else before(kind)

    registry.entries = entries  # type: ignore[assignment]
    try:
        yield
    finally:
        registry.entries = before


@dataclass(frozen=True)
class Compared:
    """An estimate and the peak that was measured, in bytes above what libraries take."""

    estimate: MemoryEstimate
    tensors: int
    measured: int

    @property
    def error(self) -> float:
        """Of the measured peak; negative where the estimate is too low."""
        return self.tensors / self.measured - 1


def compared(
    overrides: Sequence[str], processes: int, folder: Path, tiny: Sequence[str] = TINY
) -> Compared:
    """Estimates the recipe with overrides, and runs it; `tiny` are what make it tiny besides."""
    overrides = [*overrides, f"engine.processes={processes}"]
    with registered():
        recipe = load_recipe(RECIPE, overrides)
        layout = Layout(recipe.engine.zero_stage, recipe.engine.offload)
        found = estimate(
            footprint(recipe, processes), layout, processes, options=recipe.engine.deepspeed
        )
    peaks = measure(RECIPE, overrides, processes, folder, tiny)
    tensors = found.parts.total - found.parts.runtime
    return Compared(found, tensors, max(peak["peak"] for peak in peaks))


def measure(
    recipe: Path, overrides: Sequence[str], processes: int, folder: Path, tiny: Sequence[str]
) -> list[dict]:
    """Of each process, in bytes: the `baseline`, and the `peak` above it."""
    run = {
        "recipe": str(recipe), "overrides": list(overrides), "tiny": list(tiny),
        "out": str(folder),
    }  # fmt: skip
    in_processes("tests.memory_run:measure_here", processes, folder, run, **_MAPPED)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]


def resident(which: str) -> int:
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


def measure_here(run: dict) -> None:
    out = Path(run["out"])
    tiny = {
        **run,
        "overrides": [*run["overrides"], *run["tiny"], "epochs=1"],
        "out": str(out / "tiny"),
    }
    # Whatever libraries load or keep at their first use belongs to the baseline.
    with registered():
        run_one(tiny)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # Starts the peak anew.
        baseline = resident("VmRSS")
        rank = run_one({**run, "out": str(out / "run")})
    found = {"baseline": baseline, "peak": resident("VmHWM") - baseline}
    (out / f"{rank}.json").write_text(json.dumps(found))
