"""`zoo train`: starts the processes, builds the run, trains, and says where everything is."""

import os
import sys
from pathlib import Path

import typer

from zoo.engine.launch import launch, started_by_launcher
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import Recipe, load_recipe


def train(
    recipe_path: Path | None, overrides: list[str], epochs: int | None, resume: Path | None
) -> None:
    """Trains, in this process or in as many as the recipe asks for."""
    recipe = _recipe(recipe_path, overrides, epochs, resume)
    processes = _processes(recipe)
    _require_ready(recipe, processes)
    if processes > 1 and not started_by_launcher():
        raise typer.Exit(_launched(processes))
    _work(recipe, resume)


def _recipe(
    path: Path | None, overrides: list[str], epochs: int | None, resume: Path | None
) -> Recipe:
    from zoo import run_dir

    if resume is None and path is None:
        raise RecipeError("name a recipe (zoo train recipes/nft_digits.yaml) or --resume RUN_DIR")
    if resume is not None and path is not None:
        raise RecipeError(
            "name a recipe or --resume RUN_DIR, not both: a run goes on with its own recipe"
        )
    if resume is None:
        assert path is not None
        return load_recipe(path, overrides, epochs)
    return run_dir.recipe_of(resume, overrides, epochs)


def _processes(recipe: Recipe) -> int:
    if recipe.engine.processes != "auto":
        return recipe.engine.processes
    import torch

    return min(max(1, torch.cuda.device_count()), recipe.data.groups_per_epoch)


def _require_ready(recipe: Recipe, processes: int) -> None:
    from zoo.cli.ready import geometry, num_prompts, require_device

    require_device(recipe)
    num_prompts(recipe)
    geometry(recipe, processes)


def _launched(processes: int) -> int:
    """The exit code of this command in so many processes, which get the signals that this gets."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    try:
        return launch(["-m", "zoo", *sys.argv[1:]], processes)
    except SignalException as stop:
        return 128 + int(stop.sigval)


def _work(recipe: Recipe, resume: Path | None) -> None:
    """One process of the run: the only one, or one of those that a launcher started."""
    import torch

    from zoo import checkpoint, run_dir, run_state
    from zoo.build import build
    from zoo.engine import plain
    from zoo.tracking import Silent, Tracker, truncate
    from zoo.train import train as run_loop

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if local > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local))
    plain.join(recipe.engine.timeout)
    try:
        start = None
        if resume is not None:
            start = checkpoint.latest(resume)
            if start is None:
                raise checkpoint.CheckpointError(f"{resume} has no checkpoint to go on from")
        run = build(recipe)
        progress, wandb_id = (
            run_state.restore(run, start) if start else (run_state.Progress(), None)
        )
        if progress.epoch >= recipe.epochs:
            typer.echo(f"{resume} has its {recipe.epochs} epochs; --epochs N goes on to more")
            return

        def open_tracker() -> Tracker:
            if run.engine.rank > 0:
                return Silent()
            folder = run_dir.create(recipe) if resume is None else resume
            if resume is not None:
                run_dir.write_recipe(folder, recipe)
                truncate(folder, progress.epoch)
            wandb = recipe.tracking.wandb
            return Tracker(
                folder,
                name=recipe.name,
                epochs=recipe.epochs,
                first_epoch=progress.epoch,
                config=recipe.resolved(),
                wandb_project=wandb.project if wandb else None,
                wandb_mode=wandb.mode if wandb else "auto",
                wandb_id=wandb_id,
            )

        trained = run_loop(run, progress, open_tracker)
    finally:
        plain.leave()
    if trained.signal:
        raise typer.Exit(128 + trained.signal)
