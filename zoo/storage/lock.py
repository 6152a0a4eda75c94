"""A folder's lock, which the system lets go of when all that hold it have left, however they did.

It is a file's, and who inherits its descriptor holds it too. The file says which process took it.
"""

import fcntl
import os
from pathlib import Path

LOCK = ".lock"


class LockedError(Exception):
    """Another process holds the lock: `holder` took it, and may have left what it started."""

    def __init__(self, holder: str, *, is_alive: bool) -> None:
        super().__init__(f"process {holder} holds the lock")
        self.holder = holder
        self.is_alive = is_alive


def take(folder: Path, *, wait: bool = False) -> int:
    """The descriptor of the lock, which is held until it is closed; it is not inherited by itself.

    With `wait` once the others have let go.

    Raises:
        LockedError: another process holds it.
        OSError: there can be no such file, or none that can be locked.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException as error:
        holder = os.pread(descriptor, 100, 0).decode().strip()
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise LockedError(holder, is_alive=is_alive(holder)) from None
        raise
    return descriptor


def is_alive(process: str) -> bool:
    """Whether there is a process of that number, as a lock's file has it."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
