"""A lock is held by whoever has it or inherited it, and by nobody once they have left."""

import os
import subprocess
import sys

import pytest

from zoo.storage import lock
from zoo.storage.lock import LockedError

WAITS = "import sys; print('here', flush=True); sys.stdin.read()"


def test_a_lock_is_taken_once_and_says_by_whom(tmp_path):
    descriptor = lock.take(tmp_path)
    with pytest.raises(LockedError) as refused:
        lock.take(tmp_path)
    assert (refused.value.holder, refused.value.is_alive) == (str(os.getpid()), True)
    os.close(descriptor)
    os.close(lock.take(tmp_path))


def test_who_inherits_a_lock_holds_it_until_it_is_killed(tmp_path):
    descriptor = lock.take(tmp_path)
    heir = subprocess.Popen(
        [sys.executable, "-c", WAITS], pass_fds=[descriptor],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with heir:
        assert heir.stdout.readline() == b"here\n"
        os.close(descriptor)
        with pytest.raises(LockedError):
            lock.take(tmp_path)
        heir.kill()
    os.close(lock.take(tmp_path))


def test_a_holder_that_has_gone_is_told_from_one_that_has_not(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    descriptor = lock.take(tmp_path)
    (tmp_path / lock.LOCK).write_text(f"{gone.pid}\n")
    with pytest.raises(LockedError) as refused:
        lock.take(tmp_path)
    assert (refused.value.holder, refused.value.is_alive) == (str(gone.pid), False)
    os.close(descriptor)
