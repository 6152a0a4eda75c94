"""One writer a run: who trains holds the lock of the run's folder; who only reads needs none.

A launcher that goes on with a run takes it before it starts its workers, and they inherit it: it is
held until the last of them has left. The first process of a new run takes it with the new folder.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import UserError
from zoo.storage import lock
from zoo.storage.files import WriteError

_INHERITED = "ZOO_RUN_LOCK"
"""Tells a worker that its launcher holds the lock, and that it has inherited it."""

_CANNOT_LOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system says that has no locks, as some of clusters do."""


@contextmanager
def hold(folder: Path, say: Callable[[str], None]) -> Iterator[int | None]:
    """Holds the run's lock; yields the descriptor that workers are to inherit.

    None where this process has inherited it, or where the file system has no locks, which it says.

    Raises:
        UserError: another process writes there.
        WriteError: nobody can write there.
    """
    descriptor = None if _has_inherited(folder) else _take(folder, say)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def inheriting(descriptor: int | None) -> Mapping[str, str]:
    """What a worker's environment says of a lock that it inherits, if it inherits one."""
    return {} if descriptor is None else {_INHERITED: str(descriptor)}


def _has_inherited(folder: Path) -> bool:
    try:
        there = os.fstat(int(os.environ.get(_INHERITED, "")))
        return os.path.samestat(there, (folder / lock.LOCK).stat())
    except (OSError, ValueError):
        return False


def _take(folder: Path, say: Callable[[str], None]) -> int | None:
    try:
        return lock.take(folder)
    except lock.LockedError as error:
        who = (
            f"process {error.holder} is a zoo train that writes there; wait for it, or stop it"
            if error.is_alive
            else f"what process {error.holder or '?'} started still writes there, though it has "
            "gone; wait for it"
        )
        raise UserError(f"{folder} is in use: {who}") from None
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise WriteError(folder / lock.LOCK, error) from error
    say(f"warning: {folder} is on a file system without locks: start no second zoo train there")
    return None
