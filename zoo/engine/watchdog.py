"""The watchdog: a process that makes no progress, or waits for others too long, says so and ends.

One a process, as the network's forward and the collectives must reach it. Where none was started,
as in a process without a launcher, all of this does nothing.
"""

import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from zoo.engine.beats import Beats
from zoo.engine.launch import report

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_BEATS = 1.0

Fail = Callable[[str, str], None]
"""Given the cause and a traceback, which may be empty."""


class Watchdog:
    """Looks from a thread of its own whether the main thread goes on.

    It is armed by the first pulse; waiting for other processes is timed always, and longer: one
    that hangs must be found before those that wait for it. One that is slow, and alive, is waited
    for as long as it takes.
    """

    def __init__(
        self,
        seconds: float,
        fail: Fail,
        beats: Beats | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Calls `fail` after so many seconds without a sign of progress, here or of `beats`."""
        self._seconds = seconds
        self._fail = fail
        self._beats = beats
        self._clock = clock
        self._pulse: float | None = None
        self._pulses = 0
        self._heard: object = None
        self._heard_at = float("-inf")
        self._waiting: float | None = None
        self._looked = self._started = clock()
        self._parent = os.getppid()
        self._asked: list[Callable[[], bool]] = []
        self._ended = threading.Event()

    def start(self) -> None:
        """Starts looking."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        if self._beats is not None:
            # Of its own: where the store hangs with its process, someone must still look.
            threading.Thread(target=self._talk, name="beats", daemon=True).start()

    def stop(self) -> None:
        """Looks no more."""
        self._ended.set()

    def pulse(self) -> None:
        """A sign of progress."""
        self._pulse = self._clock()
        self._pulses += 1

    def ask(self, waits: Callable[[], bool]) -> None:
        """`waits` says, to any thread, whether the process stands still for the others.

        On an accelerator the host goes on while a communication is under way, and stands still
        later, in code that knows nothing of it.
        """
        self._asked.append(waits)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the process waits for the others; where that is nested, from the outermost on."""
        if self._waiting is not None:
            yield
            return
        self._waiting = self._clock()
        try:
            yield
        finally:
            if self._pulse is not None:
                self._pulse = self._clock()
            self._waiting = None

    def look(self) -> None:
        """Calls `fail` if it has been too long."""
        now = self._clock()
        # A process that was itself stopped for a while, and this thread with it, may go on.
        if now - self._looked > 10 * _SECONDS_BETWEEN_LOOKS:
            self._started = now
        self._looked = now
        # Read in this order: on leaving `waiting` the pulse is renewed first.
        waiting, pulse = self._waiting, self._pulse
        since = waiting if waiting is not None else pulse
        if since is None or now - max(since, self._started) <= self._seconds:
            return
        if waiting is not None or any(waits() for waits in self._asked):
            seconds = now - max(since, self._started, self._heard_at)
            if seconds > self._seconds + min(max(0.1 * self._seconds, 3), 30):
                self._fail(f"waited {seconds:.0f} s for the other processes", "")
        else:
            seconds = now - max(since, self._started)
            self._fail(f"no progress for {seconds:.0f} s", _trace_of_main())

    def exchange(self) -> None:
        """Tells the others of this process's progress, and hears of theirs; may take a while."""
        if self._beats is None:
            return
        self._beats.tell(self._pulses)
        heard = self._beats.hear()
        if heard != self._heard:
            self._heard, self._heard_at = heard, self._clock()

    def _talk(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_BEATS):
            self.exchange()

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            if os.getppid() != self._parent:
                # Nobody is left to end this process with the others.
                self._fail("the launcher is gone", "")
            self.look()


_watchdog: Watchdog | None = None


def start(seconds: float, beats: Beats | None = None) -> None:
    """From now on this process ends if there is no progress for so long.

    With `beats` the others hear of this one's progress, and it of theirs.
    """
    global _watchdog
    stop()
    _watchdog = Watchdog(seconds, _leave, beats)
    _watchdog.start()


def stop() -> None:
    """Ends what `start` began."""
    global _watchdog
    if _watchdog is not None:
        _watchdog.stop()
        _watchdog = None


def pulse() -> None:
    """A sign of progress; nearly free."""
    if _watchdog is not None:
        _watchdog.pulse()


def ask(waits: Callable[[], bool]) -> None:
    """`waits` says, to any thread, whether this process stands still for the others."""
    if _watchdog is not None:
        _watchdog.ask(waits)


@contextmanager
def waiting() -> Iterator[None]:
    """Inside, this process waits for the others, and makes no progress of its own."""
    if _watchdog is None:
        yield
        return
    with _watchdog.waiting():
        yield


def _leave(cause: str, trace: str) -> None:
    """Last words, and the end: the main thread may never come back to hear of it."""
    if not report(cause, trace=trace, waited=not trace):
        sys.stderr.write(f"{trace}error: process {os.environ.get('RANK', '0')}: {cause}\n")
        sys.stderr.flush()
    # For this process's log: where all its threads are, which tells two that wait for each other.
    faulthandler.dump_traceback(file=2)
    os._exit(1)


def _trace_of_main() -> str:
    """Where the main thread is, as a traceback has it."""
    identity = threading.main_thread().ident
    frame = sys._current_frames().get(identity) if identity is not None else None
    if frame is None:
        return ""
    return "".join(["Traceback (most recent call last):\n", *traceback.format_stack(frame)])
