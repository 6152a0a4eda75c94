"""Which of several processes is at fault when a launch has failed, and how that is said."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.engine.stop_signals import STOPPING

_STOPPED = tuple(128 + number for number in STOPPING)
"""A worker's exit code where it was asked to stop, and did."""


@dataclass(frozen=True)
class Words:
    """A worker's last words; `waited` if all it knows is that others did not come."""

    message: str
    trace: str = ""
    waited: bool = False


@dataclass(frozen=True)
class Ended:
    """How a worker ended: its exit code, or less than 0 the signal that killed it.

    `by_launcher` if it would not end by itself after another had failed.
    """

    rank: int
    code: int
    words: Words | None = None
    by_launcher: bool = False

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop, and did."""
        return self.code in _STOPPED

    @property
    def expected(self) -> bool:
        """Whether it gave up for a reason that all processes agree on: nobody broke down."""
        said = self.words
        return said is not None and (self.code == 2 or not (said.trace or said.waited))


@dataclass(frozen=True)
class Failure:
    """Why a launch failed: the process at fault, an exit code as a shell has it, the cause.

    The message is empty where it was asked to stop, and did.
    """

    rank: int
    exit_code: int
    message: str
    trace: str = ""

    @property
    def stopped(self) -> bool:
        """Whether it was a signal to stop that ended it."""
        return self.exit_code in _STOPPED


def at_fault(ended: Sequence[Ended], asked: Sequence[int] = ()) -> Failure | None:
    """The failure that caused the others, or None where all ended well.

    `ended` is in the order of their ends, `asked` has the signals that were passed on to them.
    """
    failed = [end for end in ended if end.code]
    if not failed:
        return None
    for number in reversed(asked):
        if any(_was_stopped_by(end, number) for end in failed):
            return Failure(failed[0].rank, 128 + number, "")
    end = min(failed, key=_remoteness)  # of equals the first
    message, trace = _said(end)
    if end.words is not None and end.words.waited:
        message += _silent([other.rank for other in ended if other.words is None])
    return Failure(end.rank, end.code if end.code > 0 else 128 - end.code, message, trace)


def _was_stopped_by(end: Ended, number: int) -> bool:
    """Whether the signal ended it: it said nothing, as it does where Python handles SIGINT."""
    by_signal = end.code in (-number, 128 + number, 1)
    return end.words is None and (by_signal or end.by_launcher)


def _remoteness(end: Ended) -> int:
    """How likely an end is only the consequence of another process's."""
    if end.by_launcher:
        return 4
    if end.words is None:
        # NCCL and gloo abort when another process has gone.
        return 1 if end.code > 0 or -end.code in (signal.SIGABRT, signal.SIGTERM) else 0
    if end.words.waited:
        return 2
    text = end.words.message.lower()
    return 3 if any(word in text for word in _CONNECTION) else 0


_CONNECTION = (
    "gloo", "nccl", "connection closed", "distbackenderror", "distnetworkerror", "diststoreerror"
)  # fmt: skip
"""What torch's errors about another process that has gone have in them."""


def _said(end: Ended) -> tuple[str, str]:
    if end.words is not None:
        return end.words.message, end.words.trace
    if end.code < 0:
        hint = " (out of memory? see dmesg)" if -end.code == signal.SIGKILL else ""
        return f"killed by {_name(-end.code)}{hint}", ""
    return "" if end.stopped else f"ended with exit code {end.code}, saying nothing", ""


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _silent(ranks: Sequence[int]) -> str:
    if not ranks:
        return ""
    listed = ", ".join(map(str, sorted(ranks)))
    return f"; no sign of life from process{'es' if len(ranks) > 1 else ''} {listed}"
