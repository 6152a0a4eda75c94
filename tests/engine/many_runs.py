"""Several short runs one after another in the same processes: starting them costs the most.

    python -m tests.engine.many_runs RUNS.json

`RUNS.json` is a list of {"recipe", "overrides", "out", "resume"}: each run writes its checkpoints
and metrics under `out`, going on from the newest checkpoint of the folder `resume`, if given.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.runs import ROOT, clean_environment


def run_all(runs: Sequence[dict], processes: int, folder: Path) -> None:
    """Makes all of them in so many processes, on a port of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / f"runs_{processes}.json"
    listed.write_text(json.dumps(runs))
    start = (
        "import sys; from zoo.engine.launch import launch; "
        "failure = launch(['-m', 'tests.engine.many_runs', sys.argv[1]], int(sys.argv[2])); "
        "print(failure or ''); sys.exit(failure is not None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", start, str(listed), str(processes)],
        capture_output=True, text=True, env=clean_environment(), cwd=ROOT, timeout=1200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _run(run: dict) -> None:
    from zoo import checkpoint, run_state
    from zoo.build import build
    from zoo.recipe.recipe import load_recipe
    from zoo.run_state import Progress
    from zoo.tracking import Silent, Tracker
    from zoo.train import train

    recipe = load_recipe(Path(run["recipe"]), run["overrides"])
    out = Path(run["out"])
    built = build(recipe)
    progress = Progress()
    if run.get("resume"):
        progress, _ = run_state.restore(built, checkpoint.latest(Path(run["resume"])))

    def open_tracker() -> Tracker:
        if built.engine.rank:
            return Silent()
        out.mkdir(parents=True, exist_ok=True)
        return Tracker(out, name=recipe.name, epochs=recipe.epochs, first_epoch=0, config={})

    train(built, progress, open_tracker)


def main() -> None:
    import torch

    from zoo.engine import processes

    torch.set_num_threads(1)
    processes.join(300, alone=True)
    for run in json.loads(Path(sys.argv[1]).read_text()):
        _run(run)
    processes.leave()


if __name__ == "__main__":
    main()
    import os

    sys.stdout.flush()
    os._exit(0)  # As the command leaves: torch's threads sometimes abort the shutdown.
