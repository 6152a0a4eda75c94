"""Stopping politely: a signal sets a flag that all processes agree on; a second leaves at once."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TypeVar

import torch

from zoo.engine.base import Engine
from zoo.engine.stop_signals import WARNINGS, catch_stopping

T = TypeVar("T")


class Interrupted(Exception):
    """The run was asked to stop, at a point where nothing of the epoch has been kept."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


_SECONDS_OF_ONE_REQUEST = 1.0
"""A scheduler's signal reaches a worker twice: by itself, and passed on by the launcher."""


class Interrupt:
    """Catches the signals to stop while it is entered: see `stop_signals`."""

    def __init__(
        self,
        engine: Engine,
        say: Callable[[str], None],
        what: str = "stopping: saves at the next safe point; again to leave at once",
    ) -> None:
        """`say` tells whoever asked what happens now."""
        self._engine = engine
        self._what = what
        self._say = say
        self._number = 0
        self.left_by = 0
        """The signal that ended the `with` block, or 0."""
        self._since = 0.0
        self._catching = catch_stopping(self._ask)

    def __enter__(self) -> "Interrupt":
        self._catching.__enter__()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._catching.__exit__(None, None, None)
        if isinstance(error, Interrupted):
            self.left_by = error.number

    @property
    def is_asked(self) -> bool:
        """Whether this process was asked to stop; others may not have been."""
        return self._number != 0

    def agree(self) -> int:
        """The signal that any process got, or 0; all processes must call it, and get the same."""
        return int(self._engine.gather(torch.tensor([self._number])).max())

    def leave_if_asked(self) -> None:
        """Raises `Interrupted` on every process if any was asked to stop."""
        number = self.agree()
        if number:
            raise Interrupted(number)

    def leave_between(self, steps: Iterable[T]) -> Iterator[T]:
        """The same steps, as many on every process; leaves after one, if any was asked to stop.

        Raises:
            Interrupted: on every process.
        """
        for step in steps:
            yield step
            self.leave_if_asked()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._number and number in WARNINGS:
            return  # It is stopping.
        if self._number in (0, *WARNINGS):
            self._number, self._since = number, time.monotonic()
            self._say(self._what)
        elif number == signal.SIGINT or self._since + _SECONDS_OF_ONE_REQUEST < time.monotonic():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
