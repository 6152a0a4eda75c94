"""`zoo train`: starts the processes, builds the run, trains, and says where it ended."""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from zoo.engine.launch import launch, started_by_launcher
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from zoo.train import Trained


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
    """The exit code of this command in so many processes, with the failure said once."""
    failure = launch(["-m", "zoo", *sys.argv[1:]], processes)
    if failure is None:
        return 0
    if failure.exit_code not in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        for line in failure.message.splitlines():
            typer.echo(f"error: process {failure.rank}: {line}", err=True)
    return failure.exit_code


def _work(recipe: Recipe, resume: Path | None) -> None:
    """One process of the run: the only one, or one of those that a launcher started."""
    import torch

    from zoo import checkpoint, run_dir, run_state
    from zoo.build import build
    from zoo.cli.ready import geometry
    from zoo.engine import processes
    from zoo.tracking import Silent, Tracker, truncate
    from zoo.train import train as run_loop

    _share_cores(recipe)
    # The others wait at most while a reward of one hangs.
    size = processes.join(
        recipe.engine.timeout + recipe.scoring.timeout, alone=recipe.engine.zero_stage is not None
    )
    try:
        geometry(recipe, size)
        start = None
        if resume is not None:
            start = checkpoint.latest(resume)
            if start is None:
                raise checkpoint.CheckpointError(f"{resume} has no checkpoint to go on from")
        if not int(os.environ.get("RANK", "0")):
            typer.echo(f"{recipe.name}: loading rewards and model")
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
                # A run that goes on from before its first epoch records that line again.
                truncate(folder, progress.epoch or -1)
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
        # No process leaves before the first has saved: the launcher ends all when one has left.
        run.engine.gather(torch.zeros(1))
    finally:
        processes.leave()
    if run.engine.rank == 0:
        _say_the_end(trained)
    if trained.signal:
        raise typer.Exit(128 + trained.signal)


def _share_cores(recipe: Recipe) -> None:
    """As many CPU threads as the recipe says; by default the processes here share the cores."""
    import torch

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if recipe.engine.threads != "auto":
        torch.set_num_threads(recipe.engine.threads)
    elif local > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local))


def _say_the_end(trained: "Trained") -> None:
    folder, progress = trained.run_dir, trained.progress
    if trained.signal:
        typer.echo(f"saved after epoch {progress.epoch}; go on with: zoo train --resume {folder}")
        return
    typer.echo(f"{progress.epoch} epochs, {progress.seconds:.1f} s of collecting and learning")
    picture = folder / "images" / "before_after.png"
    if picture.is_file():
        typer.echo(f"pictures: {picture}")
