"""A folder's lock, which the system lets go of when all that hold it have left, however they did.

It is a file's, and who inherits its descriptor holds it too. The file says which process took it.
"""

import fcntl
import os
from contextlib import suppress
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


def holder(folder: Path) -> int | None:
    """The process of this machine that took the folder's lock, while the lock is held.

    None where it has left, whoever has its number by now, and where the file system has no locks.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        process = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
        # In this order: who asks has the lock for a moment where nobody else has.
        found = is_alive(process) and _has_open(process, descriptor) and _is_held(descriptor)
        return int(process) if found else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def is_alive(process: str) -> bool:
    """Whether there is a process of that number, as a lock's file has it."""
    try:
        number = int(process)
        # 0 and less would be many processes.
        if number < 1:
            return False
        os.kill(number, 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _has_open(process: str, descriptor: int) -> bool:
    """Whether a process has that file open, as one of another machine or a later one has not.

    True where nobody tells: of another user's process, or without the /proc of Linux.
    """
    wanted, folder = os.fstat(descriptor), f"/proc/{process}/fd"
    asking = str(descriptor) if int(process) == os.getpid() else None
    try:
        names = os.listdir(folder)
    except OSError:
        return True
    for name in names:
        if name == asking:
            continue
        # It may have been closed since.
        with suppress(OSError):
            if os.path.samestat(os.stat(f"{folder}/{name}"), wanted):
                return True
    return False


def _is_held(descriptor: int) -> bool:
    """Whether anybody has the lock of that open file; False where it can have none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
