"""`zoo check`: validates recipes and prints what they will do."""

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from zoo.cli.errors import exit_code, lines
from zoo.cli.memory_table import print_memory
from zoo.cli.ready import (
    geometry,
    num_processes,
    num_prompts,
    require_deepspeed_options,
    require_local_start,
)
from zoo.plan import Batches, Plan
from zoo.recipe.recipe import Recipe, load_recipe


def check(recipes: list[Path], overrides: list[str], epochs: int | None) -> None:
    """Checks each; all are looked at before the exit code tells of the first that is wrong."""
    worst = 0
    for path in recipes:
        try:
            recipe = load_recipe(path, overrides, epochs)
            _print(path, recipe)
        except Exception as error:
            worst = max(worst, exit_code(error))
            for line in lines(error):
                typer.echo(f"error: {line}", err=True)
    if worst:
        raise typer.Exit(worst)


def _print(path: Path, recipe: Recipe) -> None:
    num_train, num_eval = num_prompts(recipe)
    processes = num_processes(recipe)
    made = geometry(recipe, processes)
    require_deepspeed_options(recipe)
    require_local_start(recipe)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, text in _lines(recipe, made, num_train, num_eval):
        table.add_row(name, text)
    console = Console(highlight=False)
    console.print(f"[bold]{path}[/bold]: ok")
    console.print(table)
    print_memory(console, recipe, processes)


def _lines(recipe: Recipe, made: Plan, num_prompts: int, num_eval: int) -> list[tuple[str, str]]:
    rewards = ", ".join(f"{entry.label} x {entry.weight:g}" for entry in recipe.rewards)
    auto = " (auto: one a GPU)" if recipe.engine.processes == "auto" else ""
    images = f"{made.groups} groups x {made.group_size} = {made.images:,} images"
    found = [
        ("trains", f"{recipe.policy.name} with {recipe.objective.name} on {rewards}"),
        ("processes", f"{made.processes}{auto}"),
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


def _to_collect(made: Plan) -> str:
    if made.collect_forwards is None:
        return "as many to collect as the solver needs for its tolerances"
    return f"{made.collect_forwards:,} to collect"


def _batches(batches: Batches, processes: int) -> str:
    each = " a process" if processes > 1 else ""
    what = "micro-batch" if batches.count == 1 else "micro-batches"
    return f"{batches.count} {what} of {batches.rows}{each}, {batches.filled:.0%} of it padding"
