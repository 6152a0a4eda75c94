"""One comparison at a time in a folder."""

import os
import subprocess
import sys

import pytest

from zoo.compare import lock
from zoo.errors import UserError
from zoo.storage.lock import LOCK

HOLD = (
    "import fcntl, sys\nfile = open(sys.argv[1], 'r+')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
    "print('held', flush=True)\nsys.stdin.read()\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock, until its stdin is closed."""
    (tmp_path / LOCK).touch()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / LOCK],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_another_comparison_is_refused_and_named(holder, tmp_path):
    (tmp_path / LOCK).write_text(f"{holder.pid}\n")
    said = []
    with (
        pytest.raises(UserError, match=f"is in use: process {holder.pid} is a zoo compare"),
        lock.hold(tmp_path, said.append),
    ):
        pass
    assert said == []


def test_the_run_of_a_killed_comparison_is_waited_for(holder, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / LOCK).write_text(f"{dead.pid}\n")
    said = []

    def leave(text):
        said.append(text)
        holder.stdin.close()

    with lock.hold(tmp_path, leave):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    (line,) = said
    assert line.startswith("the last run of a comparison that was killed still writes in")
    assert holder.wait(timeout=60) == 0


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), lock.hold(tmp_path / "file", print):
        pass


def test_the_lock_is_let_go(tmp_path):
    for _ in range(2):
        with lock.hold(tmp_path / "new", print) as descriptor:
            assert os.get_inheritable(descriptor) is False
