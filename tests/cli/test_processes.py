"""What the launcher does after a failure; the processes themselves are in test_faults.py."""

import socket
import subprocess
import sys
from contextlib import nullcontext

import pytest

from tests.runs import RECIPES, ROOT, clean_environment, command, overrides
from tests.train_here import recipe
from zoo.cli import processes as restarts
from zoo.engine.fault import Failure
from zoo.run import writer

KILLED = Failure(1, 137, "killed by SIGKILL")
RAISED = Failure(0, 1, "ValueError: out of ink\nand of paper", "Traceback ...\n")


@pytest.fixture
def launches(monkeypatch, tmp_path, capsys):
    """Plays launches that fail one after the other, and gives the commands that were started."""
    monkeypatch.setattr(sys, "argv", ["zoo", "train", "mine.yaml", "--max-restarts", "2"])

    def play(*failures, max_restarts=2, epochs=()):
        started, play.locks = [], []

        def launch(arguments, processes, environment, descriptors):
            started.append(arguments[2:])
            play.locks.append(len(descriptors))
            if epochs:
                for name, value in environment.items():
                    monkeypatch.setenv(name, value)
                restarts.leave_run_folder(tmp_path)
                (tmp_path / "checkpoints" / f"{epochs[len(started) - 1]:06}").mkdir(parents=True)
            return failures[len(started) - 1]

        monkeypatch.setattr(restarts, "launch", launch)
        code = restarts.launch_workers(2, max_restarts)
        return code, started, capsys.readouterr().err.splitlines()

    return play


ANEW = ["train", "mine.yaml", "--max-restarts", "2"]


def test_it_goes_on_from_the_last_checkpoint_and_says_so_in_a_line(launches, tmp_path):
    code, started, said = launches(KILLED, RAISED, None, epochs=(6, 8, 9))
    assert code == 0
    goes_on = ["train", "--resume", str(tmp_path)]
    assert started == [ANEW, goes_on, goes_on]
    # A new run's folder is locked by its first process, later the launcher's workers inherit that.
    assert launches.locks == [0, 1, 1]
    with writer.hold(tmp_path, print) as descriptor:
        assert descriptor is not None
    assert said == [
        "process 1 failed: killed by SIGKILL; going on from epoch 6, restart 1 of 2",
        "process 0 failed: ValueError: out of ink; going on from epoch 8, restart 2 of 2",
    ]
    assert (tmp_path / "run.log").read_text() == (
        "process 1 failed: killed by SIGKILL\n"
        "Traceback ...\nprocess 0 failed: ValueError: out of ink\nand of paper\n"
    )


def test_without_a_checkpoint_it_starts_anew(launches):
    code, started, said = launches(KILLED, None)
    assert code == 0
    assert started == [ANEW, ANEW]
    assert said == ["process 1 failed: killed by SIGKILL; starting anew, restart 1 of 2"]


def test_the_last_failure_is_said_whole(launches):
    code, started, said = launches(KILLED, KILLED, RAISED)
    assert code == 1
    assert len(started) == 3
    assert said[2:] == [
        "Traceback ...",
        "error: process 0: ValueError: out of ink",
        "error: process 0: and of paper",
    ]


def test_by_default_there_is_no_restart(launches):
    assert launches(KILLED, max_restarts=0)[0] == 137


@pytest.mark.parametrize("code", [2, 130, 143])
def test_a_mistake_and_a_signal_are_not_tried_again(code, launches):
    assert launches(Failure(0, code, "no such file"))[:2] == (code, [ANEW])


def test_being_asked_to_stop_is_no_error(launches):
    assert launches(Failure(0, 130, "")) == (130, [ANEW], [])


@pytest.mark.slow
def test_a_node_that_never_comes_is_said_on_the_terminal_and_leaves_nothing(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "tmp").mkdir()
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    chosen = overrides("nft", tmp_path / "out", engine__timeout=6, engine__processes="auto")
    ended = subprocess.run(
        command("train", RECIPES["nft"], *chosen), cwd=ROOT, capture_output=True, text=True,
        env=clean_environment(**place, TMPDIR=str(tmp_path / "tmp")), timeout=120, check=False,
    )  # fmt: skip
    first, last = ended.stderr.splitlines()
    assert first == f"waiting for 1 of 2 processes at 127.0.0.1:{port}"
    assert last.startswith(f"error: 1 of 2 processes did not come to 127.0.0.1:{port} within 6 s: ")
    assert ended.returncode == 2
    assert not list((tmp_path / "tmp").iterdir())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fails", [False, True])
def test_a_process_that_failed_does_not_wait_for_the_others_to_leave(fails, monkeypatch):
    left = []
    monkeypatch.setattr(restarts, "leave", lambda: left.append(True))
    made = recipe(RECIPES["nft"])
    with (
        pytest.raises(ValueError, match="out of ink") if fails else nullcontext(),
        restarts.join_processes(made, sharded=False),
    ):
        if fails:
            raise ValueError("out of ink")
    assert left == [True] * (not fails)
