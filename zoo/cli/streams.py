"""Standard streams that outlive their readers: a run goes on when its terminal or pipe is gone.

What cannot be written is kept in memory until there is a run, and then in the run's log.
"""

import io
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

_MOST_KEPT = 1 << 20
"""Bytes, where no log is named."""

_lost = bytearray()
_log: list[Path] = []


def outlive_readers() -> None:
    """Replaces stdout and stderr; one that was closed from the start is lost from the start."""
    # A file that is opened later must not become a standard stream.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    sys.stdout = _lasting(1, sys.stdout)
    sys.stderr = _lasting(2, sys.stderr)


def keep_in(log: Path) -> None:
    """What was lost so far, and will be, is appended to a file."""
    _log[:] = [log]
    if _lost:
        _keep(b"")


def _lasting(number: int, stream: TextIO | None) -> io.TextIOWrapper:
    if stream is not None:
        stream.flush()
    # Unbuffered: a signal's handler may write while something is being written.
    return io.TextIOWrapper(
        _Lasting(number),  # type: ignore[arg-type]
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",
        write_through=True,
    )


class _Lasting(io.RawIOBase):
    """A file descriptor; bytes that it does not take are kept, and no error is raised."""

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, data: Any) -> int:  # a Buffer, which typing knows from Python 3.12
        left = memoryview(data).cast("B")
        while left:
            try:
                left = left[os.write(self._number, left) :]
            except BlockingIOError:
                select.select([], [self._number], [])
            except OSError:
                _keep(bytes(left))
                break
        return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)


def _keep(data: bytes) -> None:
    _lost.extend(data)
    if not _log:
        del _lost[:-_MOST_KEPT]
        return
    with suppress(OSError), _log[0].open("ab") as file:
        file.write(_lost)
    _lost.clear()
