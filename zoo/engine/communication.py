"""How long the computation stood still for other processes.

What overlaps with computing costs nothing and is not counted: see `side_streams` for what DeepSpeed
has under way beside it. Waiting for a process that has more to do is counted, since from here the
two look alike.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from zoo.devices import is_accelerator, timer
from zoo.engine import watchdog

_MANY = 512
"""Pairs of events, from which on those that have passed are added up and forgotten."""


class Communication:
    """Adds up waits; on an accelerator by events on its stream, which wait for nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._timed = device, is_accelerator(device)
        self._seconds = 0.0
        self._events: list[tuple[Any, Any, bool]] = []
        self._nested = False
        watchdog.ask(self.is_under_way)

    @contextmanager
    def on_host(self) -> Iterator[None]:
        """Counts the time that this thread takes inside."""
        if self._nested:
            yield
            return
        self._nested = True
        started = time.perf_counter()
        try:
            with watchdog.waiting():
                yield
        finally:
            self._seconds += time.perf_counter() - started
            self._nested = False

    @contextmanager
    def on_device(self, *, counted: bool = True) -> Iterator[None]:
        """Counts the time that the device's current stream takes for what is queued inside.

        Where it is not `counted` the watchdog alone is told of it.
        """
        if self._nested or not self._timed:
            with self.on_host():
                yield
            return
        self._nested = True
        before, after = timer(self._device), timer(self._device)
        before.record()
        try:
            with watchdog.waiting():
                yield
        finally:
            after.record()
            self._events.append((before, after, counted))
            self._nested = False
        if len(self._events) > _MANY:
            self.seconds()

    def is_under_way(self) -> bool:
        """Whether the device has begun with a communication and not ended it, as where one hangs.

        To be asked by any thread; it waits for nothing.
        """
        return any(before.query() and not after.query() for before, after, _ in [*self._events])

    def seconds(self) -> float:
        """All of it so far; what an accelerator has not come to yet is in a later answer."""
        pending = []
        for before, after, counted in self._events:
            if not after.query():
                pending.append((before, after, counted))
            elif counted:
                self._seconds += before.elapsed_time(after) / 1e3
        self._events = pending
        return self._seconds

    def count(self, work: Any) -> Any:
        """A handle of torch's asynchronous communication, whose waits are counted."""
        return _Counted(work, self) if hasattr(work, "wait") else work


class _Counted:
    """Torch's handle, but for `wait`."""

    def __init__(self, work: Any, communication: Communication) -> None:
        self._work, self._communication = work, communication

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        with self._communication.on_device():
            return self._work.wait(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)
