"""One comparison at a time in a folder, and none while a run of an earlier one is still saving."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = ".lock"
_SECONDS_BETWEEN_LOOKS = 0.2


class LockedError(Exception):
    """Another comparison is at work in the folder."""


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Holds the folder; yields the descriptor, which children are to hold too.

    Waits for the run of a comparison that is gone: it has been told to save and leave.

    Raises:
        LockedError: another comparison holds it.
    """
    path = folder / _NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        told = False
        while not _taken(descriptor):
            holder = _holder(descriptor)
            if holder is not None and _is_alive(holder):
                raise LockedError(
                    f"process {holder} is comparing in {folder}; wait for it, end it, or write "
                    "elsewhere with --out"
                )
            if not told:
                say("waiting for the run of an interrupted comparison to save and leave")
                told = True
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace")
    return int(text) if text.isdecimal() else None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
