"""One comparison at a time in a folder, and none while a run of a killed one still writes there.

The run's process inherits the lock. That the run is asked to leave when this process is killed (see
`process`) does not do without it: until it has saved, nobody else may go on with its folder.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import UserError
from zoo.storage import lock


@contextmanager
def hold(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Holds the folder's lock; yields the descriptor that a run's process is to inherit.

    Where the comparison that took it was killed, this waits for its last run to leave.

    Raises:
        UserError: another comparison is at work there, or there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _take(folder, say)
    except OSError as error:
        raise UserError(f"--out {folder} cannot be written: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(folder: Path, say: Callable[[str], None]) -> int:
    try:
        return lock.take(folder)
    except lock.LockedError as error:
        if error.is_alive:
            raise UserError(
                f"{folder} is in use: process {error.holder} is a zoo compare that writes there; "
                "wait for it, or give another folder with --out"
            ) from None
    say(f"the last run of a comparison that was killed still writes in {folder}: waiting")
    return lock.take(folder, wait=True)
