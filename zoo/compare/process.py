"""A run as a process in a session of its own, which signals are passed on to, and dies with this.

When this process is killed the system sends the run SIGTERM (Linux alone does), and not SIGKILL:
the run saves and leaves, and where it is a launcher it takes its workers with it, which are in
sessions of their own. Until then it holds the comparison's lock.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from zoo.engine.stop_signals import catch_stopping

_PR_SET_PDEATHSIG = 1


class ProcessRunner(ABC):
    """Starts `zoo` in other processes, one after another."""

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.asked: list[int] = []
        """The signals to stop so far."""

    @abstractmethod
    def run(self, arguments: Sequence[str], log: Path) -> int:
        """The exit code, less than 0 for a signal; what it says is appended to the log."""


class Children(ProcessRunner):
    """Runs `python -m zoo ...`, and passes signals on: see `listen`."""

    def __init__(self, lock: int, say: Callable[[str], None]) -> None:
        """`lock` is a descriptor that each inherits."""
        super().__init__()
        self._lock, self._say = lock, say
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Inside, signals to stop are for the run: it saves and leaves, at the second at once.

        A run that is left at the end is stopped, and waited for.
        """
        with catch_stopping(self._pass_on):
            try:
                yield
            finally:
                if self._process is not None and self._process.poll() is None:
                    self._process.terminate()
                    self._process.wait()

    def run(self, arguments: Sequence[str], log: Path) -> int:
        """One run, to its end."""
        with log.open("ab") as output:
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            output.write(f"== {when}: zoo {' '.join(arguments)}\n".encode())
            output.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "zoo", *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=(self._lock,), preexec_fn=_die_with(os.getpid()),
            )  # fmt: skip
        if self.asked:
            # It came between the last look and the start.
            self._process.send_signal(self.asked[-1])
        return self._process.wait()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked.append(number)
        if len(self.asked) == 1:
            self._say("stopping: the run saves and leaves; again to leave at once")
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


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
