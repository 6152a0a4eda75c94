"""A run as a process in a session of its own, which signals are passed on to, and dies with this.

When this process is killed the system sends the run SIGTERM (Linux alone does), and not SIGKILL:
the run saves and leaves, and where it is a launcher it takes its workers with it, which are in
sessions of their own. Until then it holds the comparison's lock. The system takes the end of the
thread that started a run for that of this process: so no run is started from another thread.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol, runtime_checkable

from zoo.engine.stop_signals import catch_stopping

_PR_SET_PDEATHSIG = 1


@runtime_checkable
class Process(Protocol):
    """A process that has been started."""

    def poll(self) -> int | None:
        """Its exit code, less than 0 for a signal; None while it goes on."""


class ProcessRunner(ABC):
    """Starts `zoo` in other processes."""

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.asked: list[int] = []
        """The signals to stop so far."""

    @abstractmethod
    def start(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
        """What it says is appended to the log; `environment` is beside that of here."""


class Children(ProcessRunner):
    """Runs `python -m zoo ...`, and passes signals on: see `listen`."""

    def __init__(self, lock: int, say: Callable[[str], None]) -> None:
        """`lock` is a descriptor that each inherits."""
        super().__init__()
        self._lock, self._say = lock, say
        self._started: list[subprocess.Popen[bytes]] = []

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Inside, signals to stop are for the runs: they save and leave, at the second at once.

        Runs that are left at the end are stopped, and waited for.
        """
        with catch_stopping(self._pass_on):
            try:
                yield
            finally:
                left = self._left()
                for process in left:
                    process.terminate()
                for process in left:
                    process.wait()

    def start(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
        """A run, by itself from here on: `listen` passes signals on to it."""
        with log.open("ab") as output:
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            output.write(f"== {when}: zoo {' '.join(arguments)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                [sys.executable, "-m", "zoo", *arguments], env={**os.environ, **environment},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=(self._lock,), preexec_fn=_die_with(os.getpid()),
            )  # fmt: skip
        self._started = [*self._left(), process]
        if self.asked:
            # It came between the last look and the start.
            process.send_signal(self.asked[-1])
        return process

    def _left(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self._started if process.poll() is None]

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked.append(number)
        left = self._left()
        if len(self.asked) == 1:
            who = "the runs save and leave" if len(left) > 1 else "the run saves and leaves"
            self._say(f"stopping: {who}; again to leave at once")
        for process in left:
            process.send_signal(number)


def _die_with(parent: int) -> Callable[[], None] | None:
    """What the child does before it becomes another program; none where there is no such thing."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGTERM)

    return ask


def last_error(log: Path, start: int, code: int) -> str:
    """Why a run failed, in a line: from what it said since `start` (bytes), and its exit code."""
    if code < 0:
        name = signal.Signals(-code).name
        memory = "; was the machine out of memory?" if -code == signal.SIGKILL else ""
        return f"killed by {name}{memory}"
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("== ")]
    errors = [line for line in lines if line.startswith("error: ")]
    last = errors[-1].removeprefix("error: ") if errors else (lines or ["it said nothing"])[-1]
    return f"exit code {code}: {last}"
