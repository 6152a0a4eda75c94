"""Seconds that a process stood still for something that is not its own computing.

The host's clock says it on an accelerator, too: of these waits the host is part.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Waits:
    """Adds up seconds by what was waited for."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.seconds: dict[str, float] = defaultdict(float)

    def add(self, what: str, seconds: float) -> None:
        """Some more."""
        self.seconds[what] += seconds

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Counts the time that this thread takes inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(what, time.perf_counter() - started)

    def over(self, what: str, items: Iterable[T]) -> Iterator[T]:
        """The same items; counts the time until each is there."""
        iterator, end = iter(items), object()
        while True:
            with self.of(what):
                item = next(iterator, end)
            if item is end:
                return
            yield item  # type: ignore[misc]
