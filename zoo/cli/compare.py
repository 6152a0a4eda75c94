"""`zoo compare`: runs a suite's contenders and writes what came of it."""

import shlex
import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from zoo.bootstrap import Interval
from zoo.comparison import AXES, Contest, final
from zoo.console import short
from zoo.contest.child import Children
from zoo.contest.lock import LockedError, locked
from zoo.contest.run import RUNS, Results, run_all
from zoo.recipe.recipe import RecipeError
from zoo.report.comparison import write_comparison
from zoo.suite import Loaded, load_suite


def compare(path: Path, overrides: list[str], out: Path | None, *, tiny: bool) -> None:
    """Runs what is not there yet, then writes the report of what there is.

    Raises:
        RecipeError: the suite cannot be run, or another comparison is at work in the folder.
    """
    folder = out or Path("comparisons") / (path.stem + ("_tiny" if tiny else ""))
    loaded = load_suite(path, overrides, folder / RUNS, tiny=tiny)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"--out {folder}: it cannot be a folder: {error.strerror}") from error
    try:
        with locked(folder, typer.echo) as descriptor:
            children = Children([descriptor])
            with children.listening():
                results = _run(loaded, folder, children)
    except LockedError as error:
        raise RecipeError(str(error)) from error
    _end(results, children)


def _run(loaded: Loaded, folder: Path, children: Children) -> Results:
    command = shlex.join(["zoo", *sys.argv[1:]])
    results = run_all(loaded, folder, children, command, typer.echo)
    contest = results.contest()
    page = write_comparison(contest, folder)
    Console(highlight=False).print(_table(contest))
    typer.echo(f"report: {page}")
    return results


def _end(results: Results, children: Children) -> None:
    if results.num_open:
        typer.echo(f"{results.num_open} runs are left; the same command goes on")
    for name, failed in results.failed.items():
        typer.echo(f"error: {name}: {failed.why}", err=True)
    if children.asked:
        raise typer.Exit(128 + children.asked[0])
    if results.failed:
        raise typer.Exit(1)


def _table(contest: Contest) -> Table:
    """The last scores of each contender: their mean over seeds, and from where to where."""
    table = Table(box=None, pad_edge=False)
    columns = {label: f"eval/{label}" for label in contest.labels} | {
        name: AXES[name] for name in ("seconds", "forwards")
    }
    table.add_column("contender")
    for name in columns:
        table.add_column(name, justify="right")
    for contender in contest.contenders:
        cells = [_shown(final(contender, key)) for key in columns.values()]
        table.add_row(contender.name, *cells)
    return table


def _shown(found: Interval) -> str:
    if found.num_finite == 0:
        return "no run"
    if found.num_finite == 1 or found.low == found.high:
        return short(found.value)
    return f"{short(found.value)} [{short(found.low)}, {short(found.high)}]"
