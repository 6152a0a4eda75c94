"""One comparison at a time in a folder, and none while a run of a killed one still writes there.

The lock is a file's, and is inherited by the run's process: the system lets go of it when both have
left, however they did. That the run is asked to leave when this process is killed (see `process`)
does not do without it: until it has saved, nobody else may go on with its folder.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import UserError

LOCK = ".lock"


@contextmanager
def hold(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Holds the folder's lock; yields the descriptor that a run's process is to inherit.

    Where the comparison that took it was killed, this waits for its last run to leave.

    Raises:
        UserError: another comparison is at work there, or there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"--out {folder} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 100, 0).decode().strip()
            if _is_alive(holder):
                raise UserError(
                    f"{folder} is in use: process {holder} is a zoo compare that writes there; "
                    "wait for it, or give another folder with --out"
                ) from None
            say(f"the last run of a comparison that was killed still writes in {folder}: waiting")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
