"""`zoo check`: validates recipes and prints what they will do."""

import sys
import traceback
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from zoo.cli.check_cost import find_cost, print_cost
from zoo.cli.errors import exit_code, lines
from zoo.cli.options import DEBUG
from zoo.errors import UserError
from zoo.plan.cut_prompts import prompt_lengths
from zoo.plan.fit import fit, memory_of_a_process
from zoo.plan.footprint import NoEstimateError
from zoo.plan.geometry import Batches, Plan
from zoo.plan.preflight import (
    PromptCounts,
    count_prompts_of_stages,
    geometries,
    num_processes,
    refused_prompts,
    require_deepspeed_options,
    require_local_start,
    require_models,
    require_rewards,
    require_trackers,
)
from zoo.plan.reward_fit import require_fitting_rewards
from zoo.recipe.model import Size, shown_size
from zoo.recipe.recipe import Recipe, load_recipe
from zoo.recipe.sections import StopWhen
from zoo.run.folder import require_place
from zoo.terminal import Terminal, say


def check(recipes: list[Path], overrides: list[str], epochs: int | None, *, tiny: bool) -> None:
    """Checks each; all are looked at before the exit code tells of the first that is wrong."""
    if not recipes:
        raise UserError("name recipes (zoo check recipes/*.yaml), or a model: --pipeline MODEL")
    worst = 0
    for path in recipes:
        try:
            recipe = load_recipe(path, overrides, epochs, tiny=tiny)
            _print(path, recipe)
        except Exception as error:
            worst = max(worst, exit_code(error))
            if DEBUG in sys.argv:
                say(*traceback.format_exc().splitlines(), err=True)
            say(*(f"error: {line}" for line in lines(error)), err=True)
    if worst:
        raise typer.Exit(worst)


def _print(path: Path, recipe: Recipe) -> None:
    prompts = count_prompts_of_stages(recipe)
    processes = num_processes(recipe)
    geometries(recipe, processes)
    recipe, found = _fitted(recipe, processes)
    plans = geometries(recipe, processes)
    require_deepspeed_options(recipe)
    require_models(recipe)
    require_fitting_rewards(recipe)
    require_rewards(recipe)
    require_trackers(recipe)
    require_local_start(recipe)
    require_place(recipe)
    # What the network refuses it refuses here: nothing is ok before.
    cost = find_cost(recipe, processes)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    if recipe.stages:
        rows = _stage_lines(recipe, plans, prompts)
    else:
        rows = _lines(recipe, plans[0], prompts[0])
    if recipe.stop_when is not None:
        rows.append(("ends earlier", _conditions(recipe.stop_when)))
    if found:
        rows.append(("found", found))
    for name, text in rows:
        table.add_row(name, text)
    console = Terminal()
    console.print(Text.assemble((str(path), "bold"), ": ok"))
    console.print(table)
    for line in (*refused_prompts(prompts), *prompt_lengths(recipe).warnings):
        console.print(f"warning: {line}", style="yellow", markup=False, soft_wrap=True)
    print_cost(console, recipe, processes, cost)


def _fitted(recipe: Recipe, processes: int) -> tuple[Recipe, str]:
    """With micro-batches that fit here, where the recipe asks for that, and what to say of them."""
    if not recipe.engine.micro_batch.is_auto:
        return recipe, ""
    try:
        found = fit(recipe, processes, memory_of_a_process(recipe, processes))
    except NoEstimateError as error:
        return recipe, f"no micro-batches, of which below are the usual ones: {error}"
    return found.recipe, found.said


def _lines(recipe: Recipe, plan: Plan, prompts: PromptCounts) -> list[tuple[str, str]]:
    images = f"{plan.groups} groups x {plan.group_size} = {plan.images:,} images"
    rows = [
        ("trains", f"{_what(recipe)} on {_rewards(recipe)}"),
        ("processes", _processes(recipe, plan.processes)),
        ("an epoch", f"{images}, of {prompts.train} prompts"),
        *(("", line) for line in _source_lines(recipe, prompts)),
        ("sampling", _batches(plan.sampling, plan.processes)),
        ("training", f"{plan.rows:,} rows in {plan.updates} updates"),
        ("", _batches(plan.training, plan.processes)),
        ("forwards", _to_collect(plan)),
        ("", f"{plan.train_forwards:,} to train, {plan.gradient_forwards:,} with gradients"),
    ]
    if plan.collect_forwards is not None:
        forwards = plan.collect_forwards + plan.train_forwards
        total = f"{forwards * recipe.epochs:,} in {recipe.epochs} epochs"
        rows.append(("", f"{forwards:,} an epoch, {total}"))
    if recipe.eval:
        images = (
            f"{prompts.eval * recipe.eval.images_per_prompt:,} images of {prompts.eval} prompts"
        )
        of = _of_size(recipe.eval.size and recipe.evaluated_size)
        rows.append(("evaluation", f"{images}{of}, every {recipe.eval.every} epochs"))
    return rows


def _stage_lines(
    recipe: Recipe, plans: list[Plan], prompts: list[PromptCounts]
) -> list[tuple[str, str]]:
    """A line for each stage, and what they come to up to the run's end."""
    rows = [
        ("trains", f"{_what(recipe)} in {len(plans)} stages"),
        ("processes", _processes(recipe, plans[0].processes)),
    ]
    images, forwards, counted = 0, 0, True
    for stage, plan, counts in zip(recipe.timeline, plans, prompts, strict=True):
        epochs = max(0, stage.end - stage.start)
        an_epoch = f"{plan.groups} x {plan.group_size} images of {counts.train:,} prompts"
        if plan.collect_forwards is None:
            counted, told = False, f"{plan.train_forwards:,} forwards to train"
        else:
            of_epoch = plan.collect_forwards + plan.train_forwards
            forwards, told = forwards + epochs * of_epoch, f"{of_epoch:,} forwards"
        images += epochs * plan.images
        length = "1 epoch" if stage.recipe.epochs == 1 else f"{stage.recipe.epochs} epochs"
        length = length if epochs == stage.recipe.epochs else f"{epochs} of its {length}"
        on = f"{_rewards(stage.recipe)}{_of_size(stage.recipe.size)}"
        padding = f"{plan.sampling.filled:.0%} of sampling, {plan.training.filled:.0%} of training"
        told = f"{an_epoch}, {told}, padding {padding}"
        rows.append((stage.shown, f"{length} on {on}; an epoch is {told}"))
        if stage.recipe.eval and stage.recipe.eval.size:
            rows.append(("", f"evaluated by images{_of_size(stage.recipe.evaluated_size)}"))
        rows += [("", line) for line in _source_lines(stage.recipe, counts)]
    total = f"{recipe.epochs} epochs, {images:,} images"
    rows.append(("in all", f"{total}, {forwards:,} forwards" if counted else total))
    return rows


def _of_size(size: Size) -> str:
    shown = shown_size(size)
    return f" of {shown}" if shown else ""


def _source_lines(recipe: Recipe, prompts: PromptCounts) -> list[str]:
    """The share of each of several sources, and which rewards score its images."""
    sources = recipe.data.sources("train")
    if len(sources) == 1:
        return []
    total, groups = sum(source.weight for source in sources), recipe.data.groups_per_epoch
    return [
        f"{groups * source.weight / total:.3g} groups ({source.weight / total:.0%}) of "
        f"{source.place}, {num:,} prompts, scored by "
        + ", ".join(reward.label for reward in recipe.rewards if source.asks(reward.label))
        for source, num in zip(sources, prompts.sources, strict=True)
    ]


def _conditions(when: StopWhen) -> str:
    """Any of which ends the run."""
    conditions = [f"after {when.seconds:,g} s"] if when.seconds else []
    conditions += [f"after {when.forwards:,} forwards"] if when.forwards else []
    conditions += [f"after {when.images:,} images"] if when.images else []
    if when.target is not None:
        conditions.append(f"once {when.target.label} is {when.target.at_least:g}")
    conditions += [f"once the drift is above {when.drift:g}"] if when.drift else []
    if when.falling:
        conditions.append(
            f"once the held-out score has been falling for {when.falling} evaluations"
        )
    return ", or ".join(conditions) or "never"


def _rewards(recipe: Recipe) -> str:
    return ", ".join(f"{entry.label} x {entry.weight:g}" for entry in recipe.rewards)


def _what(recipe: Recipe) -> str:
    return f"{recipe.policy.name} with {recipe.objective.name}"


def _processes(recipe: Recipe, number: int) -> str:
    return f"{number}{' (auto: one a GPU)' if recipe.engine.processes == 'auto' else ''}"


def _to_collect(plan: Plan) -> str:
    if plan.collect_forwards is None:
        return "as many to collect as the solver needs for its tolerances"
    if not plan.collect_forwards:
        return "none to collect: the images come with the prompts"
    return f"{plan.collect_forwards:,} to collect"


def _batches(batches: Batches, processes: int) -> str:
    share = " a process" if processes > 1 else ""
    what = "micro-batch" if batches.count == 1 else "micro-batches"
    return f"{batches.count} {what} of {batches.rows}{share}, {batches.filled:.0%} of it padding"
