"""A run as a child process: it hears of signals, and does not outlive the comparison."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


class Children:
    """Runs commands one after another, and remembers the signals that came meanwhile."""

    def __init__(self, kept: Sequence[int] = ()) -> None:
        """`kept` are file descriptors that a child holds open too: a lock, say."""
        self._kept = tuple(kept)
        self._process: subprocess.Popen[bytes] | None = None
        self.asked: list[int] = []
        """Signals so far."""

    def run(self, arguments: Sequence[str], log: Path) -> int:
        """The exit code of `zoo` with these arguments; less than 0 is a signal that ended it.

        All that it says is appended to the log. In a session of its own it gets a signal from here
        alone: the first makes it save and leave, the second leave at once.
        """
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "zoo", *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=self._kept, preexec_fn=_end_with(os.getpid()),
            )  # fmt: skip
            for number in self.asked:
                self._process.send_signal(number)
            code = self._process.wait()
            self._process = None
        return code

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGINT and SIGTERM go to the child."""
        before = {number: signal.signal(number, self._pass_on) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked.append(number)
        if self._process is not None:
            self._process.send_signal(number)


def _end_with(parent: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Has Linux tell a child to save and leave when its parent is gone, however it went.

    Elsewhere it goes on to the end of its run; the lock that it holds keeps others away until then.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGTERM)  # it was gone before

    return ask
