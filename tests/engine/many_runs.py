"""Several short runs one after another in the same processes: starting them costs the most."""

from collections.abc import Sequence
from pathlib import Path

from tests.engine.in_processes import in_processes


def run_all(runs: Sequence[dict], processes: int, folder: Path, *, deepspeed: bool = False) -> None:
    """Each of {"recipe", "overrides", "out", "resume"} writes checkpoints and metrics under `out`.

    It goes on from the newest checkpoint of the folder `resume`, if given.
    """
    function = "tests.engine.many_runs:run_here"
    in_processes(function, processes, folder, list(runs), deepspeed=deepspeed)


def run_here(runs: Sequence[dict]) -> None:
    for run in runs:
        run_one(run)


def run_one(run: dict) -> int:
    """Makes one of them; returns this process's rank."""
    from zoo.recipe.recipe import load_recipe
    from zoo.run import checkpoint
    from zoo.run import folder as run_dir
    from zoo.run.tracker import Tracker, open_tracker
    from zoo.training import state as run_state
    from zoo.training.build import build
    from zoo.training.loop import train
    from zoo.training.state import Progress

    recipe = load_recipe(Path(run["recipe"]), run["overrides"])
    out = Path(run["out"])
    built = build(recipe)
    progress = Progress()
    if run.get("resume"):
        progress, _ = run_state.restore(built, checkpoint.latest(Path(run["resume"])))

    rank = built.model.engine.rank
    if not rank:
        out.mkdir(parents=True, exist_ok=True)
        run_dir.goes_on(out, recipe)
    with Tracker(out) if rank else open_tracker(out, recipe) as tracker:
        train(built, progress, tracker)
    return rank
