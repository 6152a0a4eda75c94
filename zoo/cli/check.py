"""`zoo check`: validates recipes and prints what they will do."""

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from zoo.cli.check_cost import print_cost
from zoo.cli.errors import exit_code, lines
from zoo.plan.geometry import Batches, Plan
from zoo.plan.preflight import (
    geometries,
    num_processes,
    num_prompts_of_stages,
    require_deepspeed_options,
    require_local_start,
)
from zoo.recipe.recipe import Recipe, load_recipe
from zoo.recipe.sections import StopWhen


def check(recipes: list[Path], overrides: list[str], epochs: int | None, *, tiny: bool) -> None:
    """Checks each; all are looked at before the exit code tells of the first that is wrong."""
    worst = 0
    for path in recipes:
        try:
            recipe = load_recipe(path, overrides, epochs, tiny=tiny)
            _print(path, recipe)
        except Exception as error:
            worst = max(worst, exit_code(error))
            for line in lines(error):
                typer.echo(f"error: {line}", err=True)
    if worst:
        raise typer.Exit(worst)


def _print(path: Path, recipe: Recipe) -> None:
    prompts = num_prompts_of_stages(recipe)
    processes = num_processes(recipe)
    plans = geometries(recipe, processes)
    require_deepspeed_options(recipe)
    require_local_start(recipe)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    if recipe.stages:
        found = _stage_lines(recipe, plans, prompts)
    else:
        found = _lines(recipe, plans[0], *prompts[0])
    if recipe.stop_when is not None:
        found.append(("ends earlier", _conditions(recipe.stop_when)))
    for name, text in found:
        table.add_row(name, text)
    console = Console(highlight=False)
    console.print(f"[bold]{path}[/bold]: ok")
    console.print(table)
    print_cost(console, recipe, processes)


def _lines(recipe: Recipe, made: Plan, num_prompts: int, num_eval: int) -> list[tuple[str, str]]:
    images = f"{made.groups} groups x {made.group_size} = {made.images:,} images"
    found = [
        ("trains", f"{_what(recipe)} on {_rewards(recipe)}"),
        ("processes", _processes(recipe, made.processes)),
        ("an epoch", f"{images}, of {num_prompts} prompts"),
        ("sampling", _batches(made.sampling, made.processes)),
        ("training", f"{made.rows:,} rows in {made.updates} updates"),
        ("", _batches(made.training, made.processes)),
        ("forwards", _to_collect(made)),
        ("", f"{made.train_forwards:,} to train, {made.gradient_forwards:,} with gradients"),
    ]
    if made.collect_forwards is not None:
        forwards = made.collect_forwards + made.train_forwards
        total = f"{forwards * recipe.epochs:,} in {recipe.epochs} epochs"
        found.append(("", f"{forwards:,} an epoch, {total}"))
    if recipe.eval:
        images = f"{num_eval * recipe.eval.images_per_prompt:,} images of {num_eval} prompts"
        found.append(("evaluation", f"{images}, every {recipe.eval.every} epochs"))
    return found


def _stage_lines(
    recipe: Recipe, plans: list[Plan], prompts: list[tuple[int, int]]
) -> list[tuple[str, str]]:
    """A line for each stage, and what they come to up to the run's end."""
    found = [
        ("trains", f"{_what(recipe)} in {len(plans)} stages"),
        ("processes", _processes(recipe, plans[0].processes)),
    ]
    images, forwards, counted = 0, 0, True
    for stage, made, (num_prompts, _) in zip(recipe.timeline, plans, prompts, strict=True):
        epochs = max(0, stage.end - stage.start)
        an_epoch = f"{made.groups} x {made.group_size} images of {num_prompts:,} prompts"
        if made.collect_forwards is None:
            counted, told = False, f"{made.train_forwards:,} forwards to train"
        else:
            of_epoch = made.collect_forwards + made.train_forwards
            forwards, told = forwards + epochs * of_epoch, f"{of_epoch:,} forwards"
        images += epochs * made.images
        length = "1 epoch" if stage.recipe.epochs == 1 else f"{stage.recipe.epochs} epochs"
        length = length if epochs == stage.recipe.epochs else f"{epochs} of its {length}"
        on = _rewards(stage.recipe)
        found.append((stage.shown, f"{length} on {on}; an epoch is {an_epoch}, {told}"))
    total = f"{recipe.epochs} epochs, {images:,} images"
    found.append(("in all", f"{total}, {forwards:,} forwards" if counted else total))
    return found


def _conditions(when: StopWhen) -> str:
    """Any of which ends the run."""
    found = [f"after {when.seconds:,g} s"] if when.seconds else []
    found += [f"after {when.forwards:,} forwards"] if when.forwards else []
    found += [f"after {when.images:,} images"] if when.images else []
    if when.target is not None:
        found.append(f"once {when.target.label} is {when.target.at_least:g}")
    found += [f"once the drift is above {when.drift:g}"] if when.drift else []
    if when.falling:
        found.append(f"once the held-out score has been falling for {when.falling} evaluations")
    return ", or ".join(found) or "never"


def _rewards(recipe: Recipe) -> str:
    return ", ".join(f"{entry.label} x {entry.weight:g}" for entry in recipe.rewards)


def _what(recipe: Recipe) -> str:
    return f"{recipe.policy.name} with {recipe.objective.name}"


def _processes(recipe: Recipe, number: int) -> str:
    return f"{number}{' (auto: one a GPU)' if recipe.engine.processes == 'auto' else ''}"


def _to_collect(made: Plan) -> str:
    if made.collect_forwards is None:
        return "as many to collect as the solver needs for its tolerances"
    if not made.collect_forwards:
        return "none to collect: the images come with the prompts"
    return f"{made.collect_forwards:,} to collect"


def _batches(batches: Batches, processes: int) -> str:
    each = " a process" if processes > 1 else ""
    what = "micro-batch" if batches.count == 1 else "micro-batches"
    return f"{batches.count} {what} of {batches.rows}{each}, {batches.filled:.0%} of it padding"
