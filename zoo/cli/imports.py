"""How long each component takes to import, and whether it can be: `zoo list --verbose`.

Every component is imported by a new process, which has what each run imports (torch, zoo's
interfaces) and nothing else. So no component profits from another's imports, and one that ends its
process, as a broken library can, ends no more.
"""

import io
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import perf_counter

from zoo import registry
from zoo.registry import BrokenPluginError, Entry

_EVERY_RUN = "zoo.recipe.recipe"


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
            problem = _ended(entry, process.exitcode)
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
            problem = " ".join(str(error).split())
    sender.send((perf_counter() - start, problem))
    sender.close()


def _ended(entry: Entry, code: int | None) -> str:
    what = f"the {registry.SINGULAR[entry.kind]} '{entry.name}' of {entry.package} {entry.version}"
    return f"{what} ends the process that imports it, with code {code}; uninstall {entry.package}"


def _full_name(entry: Entry) -> str:
    return f"{entry.package}:{entry.name}"
