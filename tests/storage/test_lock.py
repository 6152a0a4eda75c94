"""A lock is held by whoever has it or inherited it, and by nobody once they have left."""

import errno
import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from zoo.storage import lock
from zoo.storage.lock import LockedError

WAITS = "import sys; print('here', flush=True); sys.stdin.read()"


@contextmanager
def inherited(descriptor):
    """The lock is another process's alone, which is killed in the end."""
    heir = subprocess.Popen(
        [sys.executable, "-c", WAITS], pass_fds=[descriptor],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with heir:
        assert heir.stdout.readline() == b"here\n"
        os.close(descriptor)
        yield
        heir.kill()


def test_a_lock_is_taken_once_and_says_by_whom(tmp_path):
    descriptor = lock.take(tmp_path)
    with pytest.raises(LockedError) as refused:
        lock.take(tmp_path)
    assert (refused.value.holder, refused.value.is_alive) == (str(os.getpid()), True)
    os.close(descriptor)
    os.close(lock.take(tmp_path))


def test_who_inherits_a_lock_holds_it_until_it_is_killed(tmp_path):
    descriptor = lock.take(tmp_path)
    with inherited(descriptor), pytest.raises(LockedError):
        lock.take(tmp_path)
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


def test_the_holder_is_who_took_the_lock_and_has_not_left(tmp_path):
    assert lock.holder(tmp_path) is None
    descriptor = lock.take(tmp_path)
    assert lock.holder(tmp_path) == os.getpid()
    os.close(descriptor)
    assert (tmp_path / lock.LOCK).read_text() == f"{os.getpid()}\n"
    assert lock.holder(tmp_path) is None
    os.close(lock.take(tmp_path))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
def test_a_process_without_the_file_is_no_holder_of_a_lock_that_others_hold(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE)
    with other:
        descriptor = lock.take(tmp_path)
        (tmp_path / lock.LOCK).write_text(f"{other.pid}\n")
        assert lock.holder(tmp_path) is None
        os.close(descriptor)
        other.kill()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
def test_who_asks_is_not_taken_for_the_holder(tmp_path):
    # As in another container, whose process has the number of this one.
    descriptor = lock.take(tmp_path)
    with inherited(descriptor):
        assert (tmp_path / lock.LOCK).read_text() == f"{os.getpid()}\n"
        assert lock.holder(tmp_path) is None


def test_without_locks_there_is_no_holder(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "no locks")

    descriptor = lock.take(tmp_path)
    monkeypatch.setattr(fcntl, "flock", flock)
    assert lock.holder(tmp_path) is None
    os.close(descriptor)


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "9" * 30, "\udcff"])
def test_what_is_no_number_of_one_process_is_none(text, tmp_path):
    (tmp_path / lock.LOCK).write_bytes(text.encode(errors="surrogateescape"))
    descriptor = os.open(tmp_path / lock.LOCK, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert not lock.is_alive(text)
    assert lock.holder(tmp_path) is None
    os.close(descriptor)
