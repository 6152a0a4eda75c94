"""`zoo list` and `zoo describe`."""

import inspect

from rich.console import Console
from rich.table import Table
from rich.text import Text

from zoo import registry


def list_installed(kind: str | None) -> None:
    """A table of what is registered, by kind; from metadata alone."""
    kinds = (kind,) if kind else registry.KINDS
    table = Table(box=None, pad_edge=False)
    for heading in ("kind", "name", "package"):
        table.add_column(heading)
    for each in kinds:
        for entry in registry.entries(each):
            table.add_row(
                registry.SINGULAR[each], entry.name, f"{entry.package} {entry.version}".strip()
            )
    Console().print(table)


def describe(name: str) -> None:
    """A component's docstring and options; of several kinds if several have the name.

    Raises:
        UnknownComponentError: nothing of that name is installed.
    """
    from zoo.recipe.schema import describe as options_of

    package, _, short = name.rpartition(":")
    kinds = [
        kind
        for kind in registry.KINDS
        if any(e.name == short and package in ("", e.package) for e in registry.entries(kind))
    ]
    if not kinds:
        names = sorted({entry.name for kind in registry.KINDS for entry in registry.entries(kind)})
        raise registry.UnknownComponentError(
            f"nothing named '{name}' is installed{registry.suggest(name, names, 'installed')}"
        )
    console = Console(highlight=False)
    for kind in kinds:
        component = registry.load(kind, name)
        entry = registry.find(kind, name)
        console.print(
            f"[bold]{entry.name}[/bold], {registry.SINGULAR[kind]} "
            f"of {entry.package} {entry.version}\n"
        )
        console.print(inspect.getdoc(component) or "No description.", markup=False, soft_wrap=True)
        console.print()
        documented = inspect.getdoc(component.__init__) if "__init__" in vars(component) else None
        if documented and documented != inspect.getdoc(object.__init__):
            console.print(documented, markup=False, soft_wrap=True)
            console.print()
        table = Table(box=None, pad_edge=False)
        for heading in ("option", "type", "default", "allowed"):
            table.add_column(heading)
        options = options_of(component)
        for option in options:
            table.add_row(*(Text(cell) for cell in option))
        console.print(table if options else "It has no options.")
