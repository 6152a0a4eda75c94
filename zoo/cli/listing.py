"""`zoo list` and `zoo describe`."""

import inspect
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from zoo import API_VERSION, __version__, registry


def list_installed(kind: str | None, *, verbose: bool) -> None:
    """A table of what is registered, by kind; from metadata alone unless `verbose`."""
    entries = [
        entry for each in ((kind,) if kind else registry.KINDS) for entry in registry.entries(each)
    ]
    console = Console(highlight=False, soft_wrap=True)
    if verbose:
        _list_imports(console, entries)
        return
    table = _table("kind", "name", "package")
    for entry in entries:
        table.add_row(*_named(entry), f"{entry.package} {entry.version}".strip())
    console.print(table)


def _list_imports(console: Console, entries: Sequence[registry.Entry]) -> None:
    """The same with each one's import, then what is broken and why."""
    from zoo.cli.imports import imports

    table = _table("kind", "name", "package", "version", "import", "")
    broken = []
    for done in imports(entries):
        entry = done.entry
        row = (*_named(entry), entry.package, entry.version, f"{done.seconds:.2f} s")
        table.add_row(*row, "broken" if done.problem else "")
        broken += [done.problem] if done.problem else []
    console.print(f"zoo {__version__}, version {API_VERSION} of the interfaces\n")
    console.print(table)
    console.print("\nimport: seconds in a process that has torch and zoo's interfaces already")
    for problem in broken:
        console.print(f"broken: {problem}", markup=False)


def _named(entry: registry.Entry) -> tuple[str, str]:
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
            f"nothing named '{name}' is installed{registry.suggest(name, names, 'installed')}"
        )
    console = Console(highlight=False)
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
    _describe(Console(highlight=False), component, component.__name__, component.__module__)


def _describe(console: Console, component: type[Any], name: str, whose: str) -> None:
    from zoo.recipe.describe import describe as options_of

    console.print(f"[bold]{name}[/bold], {whose}\n", soft_wrap=True)
    console.print(inspect.getdoc(component) or "No description.", markup=False, soft_wrap=True)
    console.print()
    documented = inspect.getdoc(component.__init__)
    if documented and documented != inspect.getdoc(object.__init__):
        console.print(documented, markup=False, soft_wrap=True)
        console.print()
    table = _table("option", "type", "default", "allowed")
    options = options_of(component)
    for option in options:
        table.add_row(*(Text(cell) for cell in option))
    console.print(table if options else "It has no options.")
