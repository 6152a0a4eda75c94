"""`zoo compare`: runs a suite, what of it is not made yet, and writes the comparison's report."""

import shlex
import sys
from pathlib import Path

import typer
from rich.table import Table

from zoo.compare import lock
from zoo.compare.page import write_comparison
from zoo.compare.places import places
from zoo.compare.planned_runs import budget_of, plan_runs
from zoo.compare.process import Children
from zoo.compare.results import AXES, Comparison, final
from zoo.compare.runner import SuiteRunner
from zoo.compare.statistics import Interval
from zoo.compare.suite import load_suite
from zoo.errors import UserError
from zoo.plan.geometry import Plan
from zoo.plan.preflight import (
    count_prompts_of_stages,
    geometries,
    num_processes,
    require_deepspeed_options,
    require_device,
    require_models,
    require_start,
    require_trackers,
)
from zoo.prompt import PromptError
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import Recipe
from zoo.run.console import short
from zoo.terminal import Terminal, say


def compare(
    path: Path, overrides: list[str], out: Path | None, *, tiny: bool, jobs: int = 1
) -> None:
    """Runs what is not made yet, writes the report of what there is, prints the result.

    Raises:
        RecipeError: a mistake, found before anything runs.
        UserError: `jobs` runs at once would not have a device each.
        Exit: 1 where a run failed, 128 and the signal's number where it was stopped.
    """
    written = load_suite(path, overrides)
    folder = out or Path("comparisons") / f"{written.suite.name}{'_tiny' if tiny else ''}"
    planned = plan_runs(written, folder, _examine, tiny=tiny)
    where = places(jobs, max(_num_devices(run.recipe) for run in planned))
    if jobs > 1:
        say(f"{jobs} runs at once: their seconds are of a machine that they share")
    with lock.hold(folder, say) as descriptor:
        children = Children(descriptor, say)
        with children.listen():
            runner = SuiteRunner(written, planned, budget_of(written, tiny=tiny), folder, say)
            runner.run_all(children, where)
            _report(runner.comparison(f"zoo {shlex.join(sys.argv[1:])}"), folder)
    if children.asked:
        say("stopped; go on with the same command")
        raise typer.Exit(128 + children.asked[0])
    if runner.failed:
        say(f"{len(runner.failed)} of {len(planned)} runs failed; the same command tries again")
        raise typer.Exit(1)


def _report(comparison: Comparison, folder: Path) -> None:
    try:
        report = write_comparison(comparison, folder)
    except OSError as error:
        raise UserError(f"cannot write the report in {folder}: {error.strerror}") from error
    _show(comparison, report)


def _num_devices(recipe: Recipe) -> int:
    """How many accelerators it needs at least: `auto` processes are as many as it is shown."""
    if recipe.engine.device == "cpu":
        return 0
    return 1 if recipe.engine.processes == "auto" else recipe.engine.processes


def _examine(recipe: Recipe) -> Plan:
    """What `zoo train` looks at before it starts."""
    processes = num_processes(recipe)
    require_device(recipe)
    try:
        count_prompts_of_stages(recipe)
    except PromptError as error:
        raise RecipeError(str(error)) from error
    plans = geometries(recipe, processes)
    require_deepspeed_options(recipe)
    require_models(recipe)
    require_trackers(recipe)
    require_start(recipe)
    return plans[0]


def _show(comparison: Comparison, report: Path) -> None:
    """The last scores of each contender and their cost, and where the report is."""
    console = Terminal()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns = {label: f"eval/{label}" for label in comparison.labels} | {
        name: AXES[name] for name in ("seconds", "forwards")
    }
    for heading in ("contender", "runs", *columns):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for contender in comparison.contenders:
        cells = [_mean(final(contender, key)) for key in columns.values()]
        table.add_row(contender.name, f"{len(contender.runs)}/{len(comparison.seeds)}", *cells)
    console.print(table)
    console.print("last scores: mean over seeds and its interval", style="dim")
    console.print(f"report: {report}", soft_wrap=True)


def _mean(interval: Interval) -> str:
    if interval.num_finite == 0:
        return "-"
    if interval.num_finite == 1 or interval.low == interval.high:
        return short(interval.value)
    return f"{short(interval.value)} [{short(interval.low)}, {short(interval.high)}]"
