"""Stopping politely: a signal sets a flag that all processes agree on; a second leaves at once."""

import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TypeVar

import torch

from zoo.engine.base import Engine

T = TypeVar("T")


class Interrupted(Exception):
    """The run was asked to stop, at a point where nothing of the epoch has been kept."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class Interrupt:
    """Catches SIGINT and SIGTERM while it is entered."""

    _signals = (signal.SIGINT, signal.SIGTERM)

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
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        for number in self._signals:
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if isinstance(error, Interrupted):
            self.left_by = error.number

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
        if self._number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._number = number
        self._say(self._what)
