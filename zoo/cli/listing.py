"""`zoo list`, `zoo describe` and `zoo schema`: what is installed, and its options."""

import inspect
import io
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.table import Table
from rich.text import Text

from zoo import API_VERSION, __version__, registry
from zoo.cli.new_file import require_new
from zoo.errors import UserError, join_lines, suggest
from zoo.recipe import shipped
from zoo.registry import BrokenPluginError, Entry
from zoo.storage.files import write_text, writing
from zoo.terminal import Terminal, say

_EVERY_RUN = "zoo.recipe.recipe"
_RECIPES = "recipes"


@dataclass(frozen=True)
class Import:
    """How an import went."""

    entry: Entry
    seconds: float
    """Beyond what every run imports; of a broken component, until it failed."""
    problem: str
    """Why it cannot be used, in a line; empty if it can."""


def imports(entries: Sequence[Entry]) -> Iterator[Import]:
    """Imports one after the other, so that none is slowed by another."""
    # A server that has imported what every run does forks a process a component.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_EVERY_RUN])
    for entry in entries:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_import, args=(sender, entry.kind, _full_name(entry)))
        process.start()
        sender.close()
        start = perf_counter()
        try:
            seconds, problem = receiver.recv()
        except EOFError:
            seconds = perf_counter() - start
            process.join()
            problem = _explain_end(entry, process.exitcode)
        process.join()
        yield Import(entry, seconds, problem)


def _import(sender: Connection, kind: str, name: str) -> None:
    # Already there where the server could preload it.
    from zoo.recipe.constructor_schema import component_class

    problem, start = "", perf_counter()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        try:
            component_class(kind, name)
        except BrokenPluginError as error:
            problem = join_lines(error)
    sender.send((perf_counter() - start, problem))
    sender.close()


def _explain_end(entry: Entry, code: int | None) -> str:
    what = f"the {registry.SINGULAR[entry.kind]} '{entry.name}' of {entry.package} {entry.version}"
    return f"{what} ends the process that imports it, with code {code}; uninstall {entry.package}"


def _full_name(entry: Entry) -> str:
    return f"{entry.package}:{entry.name}"


def schema(out: Path | None, *, overwrite: bool) -> None:
    """Prints the schema, or writes it and says what line makes an editor read it.

    Raises:
        UserError: the file is there, or cannot be written.
    """
    from zoo.recipe.json_schema import recipe_schema

    text = json.dumps(recipe_schema(), indent=2)
    if out is None:
        say(*text.splitlines())
        return
    require_new(out, overwrite=overwrite)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, f"{text}\n")
    say(f"wrote {out}; a recipe that starts with this line is checked by it:")
    say(f"# yaml-language-server: $schema={out.resolve().as_uri()}")


def list_installed(kind: str | None, *, verbose: bool) -> None:
    """A table of what is registered, by kind; from metadata alone unless `verbose`.

    Raises:
        UserError: there is no such kind, or recipes are to be imported.
    """
    if kind == _RECIPES and verbose:
        raise UserError("--verbose imports components, and recipes are none: zoo list recipes")
    if kind == _RECIPES:
        _list_recipes()
        return
    if kind is not None and kind not in registry.KINDS:
        allowed = suggest(kind, (*registry.KINDS, _RECIPES), "allowed")
        raise UserError(f"unknown kind '{kind}'{allowed}")
    entries = [
        entry for one in ((kind,) if kind else registry.KINDS) for entry in registry.entries(one)
    ]
    console = Terminal(soft_wrap=True)
    if verbose:
        _list_imports(console, entries)
        return
    table = _table("kind", "name", "package")
    for entry in entries:
        table.add_row(*_row(entry), f"{entry.package} {entry.version}".strip())
    console.print(table)


def _list_imports(console: Terminal, entries: Sequence[registry.Entry]) -> None:
    """The same with each one's import, then what is broken and why."""
    table = _table("kind", "name", "package", "version", "import", "")
    broken = []
    for done in imports(entries):
        entry = done.entry
        row = (*_row(entry), entry.package, entry.version, f"{done.seconds:.2f} s")
        table.add_row(*row, "broken" if done.problem else "")
        broken += [done.problem] if done.problem else []
    console.print(f"zoo {__version__}, version {API_VERSION} of the interfaces\n")
    console.print(table)
    console.print("\nimport: seconds in a process that has torch and zoo's interfaces already")
    for problem in broken:
        console.print(f"broken: {problem}")


def recipes(action: str | None, name: str | None, out: Path | None) -> None:
    """Lists the recipes that come with zoo, or copies one.

    Raises:
        UserError: there is no such action or recipe, or no name is given.
    """
    if action is None and out is None:
        _list_recipes()
    elif action == "copy" and name is not None:
        say(f"wrote {shipped.copy(name, out)}")
    else:
        raise UserError("zoo recipes lists them, zoo recipes copy NAME [--out FILE] copies one")


def _list_recipes() -> None:
    """By what was verified of them: name, what it is, what it needs."""
    console = Terminal()
    found = shipped.recipes()
    for level, meaning in shipped.LEVELS.items():
        console.print(Text.assemble((level, "bold"), f": {meaning}"))
        table = _table("", "", "")
        table.show_header = False
        for recipe in found:
            if recipe.level == level:
                table.add_row(recipe.name, recipe.about, recipe.needs)
        console.print(table)
        console.print()
    console.print(
        "zoo train NAME; zoo check NAME: what it costs; zoo recipes copy NAME: to edit it"
    )


def _row(entry: registry.Entry) -> tuple[str, str]:
    return registry.SINGULAR[entry.kind], entry.name


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def describe(name: str) -> None:
    """A component's docstring and options; of several kinds if several have the name.

    Raises:
        UnknownComponentError: nothing of that name is installed.
    """
    package, _, short = name.rpartition(":")
    kinds = [
        kind
        for kind in registry.KINDS
        if any(e.name == short and package in ("", e.package) for e in registry.entries(kind))
    ]
    if not kinds:
        for kind in filter(lambda kind: registry.apart(kind, name), registry.KINDS):
            registry.find(kind, name)
        names = sorted({entry.name for kind in registry.KINDS for entry in registry.entries(kind)})
        raise registry.UnknownComponentError(
            f"nothing named '{name}' is installed{suggest(name, names, 'installed')}"
        )
    console = Terminal()
    for kind in kinds:
        entry = registry.find(kind, name)
        whose = f"{registry.SINGULAR[kind]} of {entry.package} {entry.version}"
        _describe(console, registry.load(kind, name), entry.name, whose)


def describe_isolated(name: str, python: str) -> None:
    """The same of a reward in another Python.

    Raises:
        BrokenPluginError: there is no such reward or no such Python.
    """
    from zoo.recipe.isolated import isolated_class

    component = isolated_class(python, name)
    _describe(Terminal(), component, component.__name__, component.__module__)


def _describe(console: Terminal, component: type[Any], name: str, whose: str) -> None:
    from zoo.recipe.describe import describe as options_of

    console.print(Text.assemble((name, "bold"), f", {whose}\n"), soft_wrap=True)
    console.print(inspect.getdoc(component) or "No description.", soft_wrap=True)
    console.print()
    documented = inspect.getdoc(component.__init__)
    if documented and documented != inspect.getdoc(object.__init__):
        console.print(documented, soft_wrap=True)
        console.print()
    table = _table("option", "type", "default", "allowed")
    options = options_of(component)
    for option in options:
        table.add_row(*(Text(cell) for cell in option))
    console.print(table if options else "It has no options.")
