"""Real runs that measure the most memory that each of their processes holds.

    python -m tests.memory_run RUN.json

`RUN.json` is {"recipe", "overrides", "out"}; each process writes `out/RANK.json`. Resident memory
is measured above what the process holds after a whole run of a tiny model, so that what libraries
load and keep is no part of it. Allocations of 64 kB and more are mapped one by one, so that memory
which is freed goes back to the system at once: tensors are measured, not what malloc keeps of them.
"""

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.runs import ROOT, clean_environment
from zoo.footprint import footprint
from zoo.memory import Estimate, Layout, estimate
from zoo.recipe.recipe import load_recipe

_MAPPED = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "0",
}


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

    estimate: Estimate
    tensors: int
    measured: int

    @property
    def error(self) -> float:
        """Of the measured peak; negative where the estimate is too low."""
        return self.tensors / self.measured - 1


def compared(overrides: Sequence[str], processes: int, folder: Path) -> Compared:
    """Estimates the recipe with overrides, and runs it."""
    overrides = [*overrides, f"engine.processes={processes}"]
    with registered():
        recipe = load_recipe(RECIPE, overrides)
        layout = Layout(recipe.engine.zero_stage, recipe.engine.offload)
        found = estimate(
            footprint(recipe, processes), layout, processes, options=recipe.engine.deepspeed
        )
    peaks = measure(RECIPE, overrides, processes, folder)
    tensors = found.parts.total - found.parts.runtime
    return Compared(found, tensors, max(peak["peak"] for peak in peaks))


def measure(recipe: Path, overrides: Sequence[str], processes: int, folder: Path) -> list[dict]:
    """Of each process, in bytes: the `baseline`, and the `peak` above it."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "run.json"
    listed.write_text(
        json.dumps({"recipe": str(recipe), "overrides": list(overrides), "out": str(folder)})
    )
    start = (
        "import sys; from zoo.engine.launch import launch; "
        "failure = launch(['-m', 'tests.memory_run', sys.argv[1]], int(sys.argv[2])); "
        "print(failure or ''); sys.exit(failure is not None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", start, str(listed), str(processes)],
        capture_output=True, text=True, env=clean_environment(**_MAPPED), cwd=ROOT, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]


def resident(which: str) -> int:
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


def main() -> None:
    import torch

    from zoo.engine import processes

    torch.set_num_threads(1)
    run = json.loads(Path(sys.argv[1]).read_text())
    out = Path(run["out"])
    processes.join(300, alone=True)
    # Whatever libraries load or keep at their first use belongs to the baseline.
    with registered():
        _train(run["recipe"], [*run["overrides"], *_TINY], out / "tiny")
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # Starts the peak anew.
        baseline = resident("VmRSS")
        rank = _train(run["recipe"], run["overrides"], out / "run")
    found = {"baseline": baseline, "peak": resident("VmHWM") - baseline}
    (out / f"{rank}.json").write_text(json.dumps(found))
    processes.leave()


# Large enough that stage 3 cuts some of its parameters in pieces.
_TINY = ("policy.layers=1", "policy.heads=3", "epochs=1")


def _train(recipe: str, overrides: Sequence[str], out: Path) -> int:
    """A run as `zoo train` makes it; returns this process's rank."""
    from zoo.build import build
    from zoo.run_state import Progress
    from zoo.tracking import Silent, Tracker
    from zoo.train import train

    options = load_recipe(Path(recipe), list(overrides))
    built = build(options)

    def open_tracker() -> Tracker:
        if built.engine.rank:
            return Silent()
        out.mkdir(parents=True, exist_ok=True)
        return Tracker(out, name="x", epochs=options.epochs, first_epoch=0, config={})

    train(built, Progress(), open_tracker)
    return built.engine.rank


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # As the command leaves: torch's threads sometimes abort the shutdown.
