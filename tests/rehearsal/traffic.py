"""What makes the host wait for the device, counted: by kind, by phase, by line of zoo."""

import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import zoo
from tests.rehearsal import streams

WAITS = frozenset({"item", "size", "to cpu", "to sim", "synchronize"})
"""The kinds that the host waits for.

A number is read; how large a result is depends on values, as of a boolean index; a copy, either
way; all that is queued. It does not wait for what is `unwaited`, a copy to the device that is said
to be `non_blocking`, nor for a `collective`. `random` are numbers drawn on the device, which would
be others on another.
"""

_ROOT = str(Path(zoo.__file__).parent)


class Traffic:
    """Counts of the main thread by (kind, phase, lines of zoo, innermost first); others' apart."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
        self.elsewhere: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._phases: list[str] = []
        self._queued: list[tuple[torch.Tensor, int]] = []

    def note(self, kind: str) -> None:
        """One more of a kind."""
        if kind in WAITS:
            self.settle()
            streams.settle(everything=kind == "synchronize")
        if threading.current_thread() is not threading.main_thread():
            self.elsewhere[kind] += 1
            return
        for phase in {"", *self._phases}:
            self.counts[kind, phase, _lines()] += 1

    def waits(self, phase: str = "") -> int:
        """How often the host waited within a phase; without one, at all."""
        return sum(self.at(phase).values())

    def at(self, phase: str = "") -> Counter[str]:
        """The waits of a phase, by the innermost line of zoo and its kind."""
        found: Counter[str] = Counter()
        for (kind, where, lines), count in self.counts.items():
            if where == phase and kind in WAITS:
                found[f"{kind}: {' < '.join(lines[:2]) or 'outside of zoo'}"] += count
        return found

    def number(self, kind: str) -> int:
        """How many of a kind there were in all, of every thread."""
        own = sum(
            count for (of, where, _), count in self.counts.items() if (of, where) == (kind, "")
        )
        return own + self.elsewhere[kind]

    def clear(self) -> None:
        """Forgets what was counted."""
        self.counts.clear()
        self.elsewhere.clear()
        self.calls.clear()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What is counted inside is of this phase as well, and the phase has one call more."""
        self.calls[name] += 1
        self._phases.append(name)
        try:
            yield
        finally:
            self._phases.remove(name)

    def within(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or the generator, as a phase."""
        if inspect.isgeneratorfunction(inspect.unwrap(function)):

            def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
                made = function(*args, **kwargs)
                while True:
                    with self.phase(name):
                        item = next(made, None)
                    if item is None:
                        return
                    yield item

            return iterate

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return call

    def queue(self, source: torch.Tensor) -> None:
        """A copy from page-locked memory is made some time before the host next waits."""
        self._queued.append((source, source._version))

    def settle(self) -> None:
        """All that was queued is done: nothing may have been written in the meantime."""
        queued, self._queued = self._queued, []
        if any(source._version != version for source, version in queued):
            raise RuntimeError("page-locked memory was overwritten while it was being copied")


def _lines() -> tuple[str, ...]:
    frame, found = inspect.currentframe(), []
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_ROOT):
            found.append(f"{file[len(_ROOT) + 1 :]}:{frame.f_lineno}")
        frame = frame.f_back
    return tuple(found)


traffic = Traffic()
