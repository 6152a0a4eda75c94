"""`zoo train`: starts the processes, builds the run, trains, and says where it ended."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from zoo.cli.fitting import fit_recipe, try_sizes
from zoo.cli.foreign_output import LibraryOutput
from zoo.cli.processes import join_processes, launch_workers, leave_run_folder
from zoo.cli.streams import keep_in
from zoo.cli.train_said import say_the_end, tell_lengths, tell_rate, what_more, works_of
from zoo.engine.rendezvous import is_worker, rank
from zoo.errors import UserError
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import Recipe, load_recipe
from zoo.storage.files import or_nan
from zoo.terminal import say

if TYPE_CHECKING:
    from zoo.run.tracker import Tracker
    from zoo.training.build import Run
    from zoo.training.loop import Trained
    from zoo.training.state import Progress


@dataclass(frozen=True)
class _GoingOn:
    """A run that goes on: its folder, and what its log is to say of what has another content."""

    folder: Path
    notes: Sequence[str]


def train(
    recipe_path: Path | None,
    overrides: list[str],
    epochs: int | None,
    resume: Path | None,
    max_restarts: int = 0,
    *,
    tiny: bool = False,
    moved: bool = False,
) -> None:
    """Trains, in this process or in as many as the recipe asks for."""
    recipe = _recipe(recipe_path, overrides, epochs, resume, tiny=tiny)
    if moved and resume is None:
        raise UserError("--moved is for a run that goes on; name it with --resume RUN_DIR")
    trained = run(recipe, resume, max_restarts, moved=moved)
    if trained is not None and trained.signal:
        raise typer.Exit(128 + trained.signal)


def run(
    recipe: Recipe, resume: Path | None, max_restarts: int = 0, *, moved: bool = False
) -> "Trained | None":
    """Starts a run, or goes on with one; nothing where that has ended already.

    Raises:
        typer.Exit: it was in processes of its own, which have ended with that code.
    """
    from zoo.run import contents, writer

    if resume is None:
        return _start(recipe, None, max_restarts, None)
    with nullcontext() if rank() else writer.hold(resume, say) as lock:
        if _has_ended(resume, recipe):
            return None
        notes = contents.compare_moved(resume, recipe, accept=moved)
        return _start(recipe, _GoingOn(resume, notes), max_restarts, lock)


def _start(
    recipe: Recipe, resume: _GoingOn | None, max_restarts: int, lock: int | None
) -> "Trained":
    """Sees that all is ready; trains here, or in as many processes as the recipe asks for."""
    from zoo.plan.preflight import num_processes

    processes = num_processes(recipe)
    _require_ready(recipe, processes, resumed=resume is not None)
    if (processes > 1 or max_restarts) and not is_worker():
        raise typer.Exit(launch_workers(processes, max_restarts, lock))
    return _work(recipe, resume)


def _recipe(
    path: Path | None,
    overrides: list[str],
    epochs: int | None,
    resume: Path | None,
    *,
    tiny: bool,
) -> Recipe:
    from zoo.run import folder as run_dir

    if resume is None and path is None:
        raise UserError("name a recipe (zoo train recipes/nft_digits.yaml) or --resume RUN_DIR")
    if resume is not None and path is not None:
        raise UserError(
            "name a recipe or --resume RUN_DIR, not both: a run goes on with its own recipe"
        )
    if resume is None:
        assert path is not None
        return load_recipe(path, overrides, epochs, tiny=tiny)
    if tiny:
        raise UserError("--tiny starts a run; --resume goes on with one as it was started")
    return run_dir.recipe_of(resume, overrides, epochs)


def _has_ended(folder: Path, recipe: Recipe) -> bool:
    """Says so where a run that is to go on has come to its end, by its epochs or conditions."""
    from zoo.run import checkpoint, leftovers
    from zoo.run import folder as run_dir
    from zoo.run.tracker import read
    from zoo.storage import files as json_file
    from zoo.training import state as run_state
    from zoo.training import stop

    start = checkpoint.latest(folder)
    if start is None:
        unsound = checkpoint.passed_over(folder)
        why = "; ".join([f"{folder} has no checkpoint to go on from", *unsound])
        raise checkpoint.CheckpointError(why)
    progress = run_state.progress_of(start)
    if recipe.epochs < progress.epoch:
        raise UserError(
            f"--epochs {recipe.epochs}: {folder} has {progress.epoch} epochs already, and N counts "
            "from its start; write more, or look at an earlier one: zoo eval RUN_DIR --epoch N"
        )
    if progress.unevaluated is not None:
        return False
    records = {line["epoch"]: line for line in read(folder)}
    record = _numbers(records.get(progress.epoch, {}))
    end = stop.at_checkpoint(recipe, progress, record)
    if end is None:
        return False
    if rank():
        return True
    own = stop.at_checkpoint(run_dir.recipe_of(folder), progress, record)
    if own is not None and run_dir.read_end(folder) is None:
        # A kill came between the last checkpoint and this. What only -s would end has no end.
        leftovers.remove(folder)
        json_file.write(folder / run_dir.END, asdict(own))
    if end.reason == run_dir.EPOCHS:
        say(f"{folder} has its {recipe.epochs} epochs{what_more(recipe)}")
    else:
        say(
            f"{folder} ended after epoch {end.epoch}: {end.text}; -s stop_when=null goes on to "
            f"its {recipe.epochs} epochs"
        )
    return True


def _numbers(record: Mapping[str, float | None]) -> dict[str, float]:
    """A line of metrics, whose null is NaN."""
    return {key: or_nan(value) for key, value in record.items()}


def _require_ready(recipe: Recipe, processes: int, *, resumed: bool) -> None:
    from zoo.plan.preflight import (
        count_prompts_of_stages,
        geometries,
        refused_prompts,
        require_deepspeed_options,
        require_device,
        require_models,
        require_start,
        require_trackers,
    )
    from zoo.plan.reward_fit import require_fitting_rewards
    from zoo.run.folder import require_place

    require_device(recipe)
    for line in refused_prompts(count_prompts_of_stages(recipe)):
        if not is_worker():
            say(f"warning: {line}", err=True)
    geometries(recipe, processes)
    require_deepspeed_options(recipe)
    require_models(recipe)
    require_fitting_rewards(recipe)
    require_trackers(recipe)
    if not resumed:
        require_place(recipe)
        require_start(recipe)


def _work(recipe: Recipe, resume: _GoingOn | None) -> "Trained":
    """One process of the run: the only one, or one of those that a launcher started."""
    from zoo.policy.pipeline import known
    from zoo.run import model_record

    began_with = {} if resume is None else model_record.contracts(resume.folder)
    with (
        join_processes(recipe, sharded=recipe.engine.zero_stage is not None) as (size, output),
        known.recalling(began_with),
    ):
        trained = _build_and_train(recipe, resume, size, output)
    if rank() == 0:
        say_the_end(trained)
    return trained


def _build_and_train(
    recipe: Recipe, resume: _GoingOn | None, size: int, output: LibraryOutput | None
) -> "Trained":
    """Builds the run and trains."""
    from zoo.plan.preflight import geometries
    from zoo.run import checkpoint, model_record, writer
    from zoo.run import folder as run_dir
    from zoo.training import state as run_state
    from zoo.training.build import build
    from zoo.training.loop import train as run_loop

    # The model and the rewards, and where a run goes on its checkpoint.
    _require_number(recipe, size)
    plans = geometries(recipe, size)
    searched = recipe.engine.micro_batch.is_auto
    if searched:
        recipe = fit_recipe(recipe, size)
    start = checkpoint.latest(resume.folder) if resume is not None else None
    if not rank():
        for line in checkpoint.passed_over(resume.folder) if resume is not None else ():
            say(f"warning: {line}")
        say(f"{recipe.name}: loading rewards and model")
    works = works_of(recipe, plans)
    run = build(recipe, resumed=start is not None)
    if searched:
        recipe, run = try_sizes(recipe, run)
    if not rank():
        say(f"{recipe.name}: trains {run.model.policy.weights.trained}")
    progress, tracking_id = run_state.restore(run, start) if start else (run_state.Progress(), None)

    # The folder, which the first process makes, and what is recorded there and shown.
    engine, before = (
        run.model.engine,
        recipe if resume is None else run_dir.recipe_of(resume.folder),
    )
    folder = _run_folder(recipe, resume, run)
    if output is not None:
        output.into(folder)
    is_new = resume is None and engine.rank == 0
    with (
        writer.hold(folder, say) if is_new else nullcontext(),
        _tracker(recipe, folder, engine.rank, progress, tracking_id) as tracker,
    ):
        tracker.warn(*(() if resume is None else resume.notes))
        if engine.rank == 0:
            tell_lengths(tracker, recipe)
        if start is not None:
            tracker.warn(*run_state.tell_other_version(run, start))
            tracker.warn(*model_record.tell_other_version(folder, run.sizes.findings()))
            tell_rate(tracker, before, recipe, progress)
        trained = run_loop(run.of_works(works) if works else run, progress, tracker)

    # No process leaves before the first has saved: the launcher ends all when one has left.
    engine.barrier()
    return trained


def _run_folder(recipe: Recipe, resume: _GoingOn | None, run: "Run") -> Path:
    """The run's, new or gone on with; the same on every process."""
    from zoo.run import model_record

    own, engine, findings = [], run.model.engine, run.sizes.findings()
    exact = json.dumps(model_record.exact(findings))
    if len(engine.gather_lines([hashlib.sha256(exact.encode()).hexdigest()])) > 1:
        raise UserError(
            "the processes of this run found different things of its pipeline; have the same "
            "diffusers, torch and zoo on every machine, and delete the cache's folder zoo/contracts"
        )
    if engine.rank == 0:
        own = [
            str(
                _new_folder(recipe, findings)
                if resume is None
                else _old_folder(recipe, resume.folder, findings)
            )
        ]
    return Path(engine.gather_lines(own)[0])


def _new_folder(recipe: Recipe, findings: Mapping[str, Any]) -> Path:
    from zoo.run import contents, model_record
    from zoo.run import folder as run_dir

    folder = run_dir.create(recipe)
    contents.write(folder, recipe)
    model_record.keep(folder, findings)
    return folder


def _old_folder(recipe: Recipe, folder: Path, findings: Mapping[str, Any]) -> Path:
    from zoo.run import contents, leftovers, model_record
    from zoo.run import folder as run_dir

    leftovers.remove(folder)
    contents.goes_on(folder, recipe)
    model_record.require_same(folder, findings)
    model_record.keep_exact(folder, findings)
    run_dir.goes_on(folder, recipe)
    return folder


def _require_number(recipe: Recipe, started: int) -> None:
    """What another launcher started must be what the recipe says, if it does."""
    wanted = recipe.engine.processes
    if wanted not in ("auto", started):
        raise RecipeError(
            f"{recipe.origin(('engine', 'processes'))}: engine.processes is {wanted} and the "
            f"launcher started {started}; write engine.processes: {started} or auto"
        )


def _tracker(
    recipe: Recipe, folder: Path, rank: int, progress: "Progress", tracking_id: str | None
) -> "Tracker":
    """What this process records to: the run's folder, or nothing."""
    from zoo.run.tracker import LOG, Tracker, open_tracker, truncate

    if rank > 0:
        return Tracker(folder)
    leave_run_folder(folder)
    keep_in(folder / LOG)
    # A run that goes on from before its first epoch records that line again.
    truncate(folder, progress.epoch or -1)
    return open_tracker(folder, recipe, progress.epoch, tracking_id)
