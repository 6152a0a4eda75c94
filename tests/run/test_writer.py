"""One writer a run."""

import errno
import os
import subprocess
import sys

import pytest

from zoo.errors import UserError
from zoo.run import writer
from zoo.storage import lock

INHERITS = """
import sys
from pathlib import Path
from zoo.run import writer
with writer.hold(Path(sys.argv[1]), print) as descriptor:
    print(descriptor)
"""


def test_a_second_writer_is_refused_in_a_line_that_names_the_first(tmp_path):
    with (
        writer.hold(tmp_path, print),
        pytest.raises(UserError, match=f"in use: process {os.getpid()} is a zoo train"),
        writer.hold(tmp_path, print),
    ):
        pass
    with writer.hold(tmp_path, print) as descriptor:
        assert descriptor is not None


def test_the_workers_of_a_killed_launcher_are_said(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with writer.hold(tmp_path, print):
        (tmp_path / lock.LOCK).write_text(f"{gone.pid}\n")
        with (
            pytest.raises(UserError, match=f"what process {gone.pid} started still writes there"),
            writer.hold(tmp_path, print),
        ):
            pass


def test_a_worker_has_the_lock_of_its_launcher_for_that_folder_alone(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with writer.hold(tmp_path, print) as descriptor:
        shared = {**os.environ, **writer.inheriting(descriptor)}
        for folder, taken in ((tmp_path, False), (other, True)):
            worker = subprocess.run(
                [sys.executable, "-c", INHERITS, folder], pass_fds=[descriptor], env=shared,
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert (worker.stdout.strip() != "None") == taken
    assert writer.inheriting(None) == {}


def test_a_file_system_without_locks_is_said_and_one_that_is_read_only_refused(
    tmp_path, monkeypatch
):
    def fail(number):
        def take(folder):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(lock, "take", take)

    said = []
    fail(errno.ENOLCK)
    with writer.hold(tmp_path, said.append) as descriptor:
        assert descriptor is None
    (line,) = said
    assert line.startswith(f"warning: {tmp_path} is on a file system without locks")
    fail(errno.EROFS)
    with (
        pytest.raises(UserError, match=r"/\.lock cannot be written: Read-only file system$"),
        writer.hold(tmp_path, said.append),
    ):
        pass
