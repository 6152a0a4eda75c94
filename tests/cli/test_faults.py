"""A process that fails, is killed or hangs ends the run soon, with its cause; the run is whole."""

import signal
import socket
import time
from contextlib import closing

import psutil
import pytest

from tests.runs import RECIPES, metrics, only_run, overrides, require_same, without_clocks, zoo
from zoo.run import checkpoint

NFT = RECIPES["nft"]

# A reward's threads are not where a run breaks, so it sends its process a signal, which Python
# handles in the main thread. The third epoch's first batch is where: two are saved.
REWARD = """
import faulthandler, os, signal, threading, time
from pathlib import Path

marker = Path({marker!r})
calls = 0


def score(images, prompts):
    global calls
    calls += 1
    if calls == {call} and os.environ.get("RANK") == "{rank}" and not marker.exists():
        marker.write_text(str(time.time()))
        {fault}
    return images.mean(dim=(1, 2, 3))


def raises(number, frame):
    raise RuntimeError("out of ink")


def hangs(number, frame):
    while frame := frame.f_back:
        if frame.f_code.co_name == "waiting" or "gather" in frame.f_code.co_name:
            # It waits for the others, and should hang by itself.
            threading.Timer(0.001, os.kill, (os.getpid(), number)).start()
            return
    while True:
        pass


signal.signal(signal.SIGVTALRM, raises)
signal.signal(signal.SIGUSR2, hangs)
"""
SIGNAL = "os.kill(os.getpid(), signal.{})"
STAGES = pytest.mark.parametrize("stage", ["null", pytest.param(3, marks=pytest.mark.slow)])
LIMIT = 8
"""Seconds: `engine.timeout` and `scoring.timeout`."""


@pytest.fixture
def changed(tmp_path):
    """The overrides of a short run in which a process goes wrong, once."""

    def make(fault, processes=2, rank=1, stage="null"):
        # A collection is four micro-batches on one process, and two on the second of two; the
        # third epoch's is the fourth collection, one is made before any update.
        call = 3 * (4 if processes == 1 else 2) + 1
        text = REWARD.format(fault=fault, rank=rank, call=call, marker=str(tmp_path / "marker"))
        (tmp_path / "reward.py").write_text(text)
        return overrides(
            "nft", tmp_path / "out", eval="null", engine__processes=processes, engine__threads=1,
            engine__zero_stage=stage,
            engine__timeout=5, scoring="{timeout: 3, retries: 0}",
            rewards=f"[{{name: python, path: '{tmp_path / 'reward.py'}:score'}}]",
        )  # fmt: skip

    return make


@pytest.fixture
def broken(changed, tmp_path):
    """Runs it to its end, which must come so many seconds after the fault, and leave no process."""

    def run(fault, within, stage="null"):
        ended = zoo("train", NFT, *changed(fault, stage=stage), anew=True)
        took = time.time() - float((tmp_path / "marker").read_text())
        assert took < within, ended.stderr
        assert "Traceback" not in ended.stdout
        assert ended.stderr.count("Traceback") <= 1, ended.stderr
        assert not left_of(tmp_path)
        return ended

    return run


def left_of(path):
    """The processes that a run under a folder has left behind."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(path) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def errors(ended):
    return [line for line in ended.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture
def goes_on(zoo_here, tmp_path):
    """Whether the run's last checkpoint is whole, and takes it to its end."""

    def check():
        run = only_run(tmp_path / "out")
        assert checkpoint.load(checkpoint.latest(run)).epoch == 2
        resumed = zoo_here(
            "train", "--resume", run, "-s", "engine.processes=1", "-s", "engine.zero_stage=null"
        )
        assert resumed.code == 0, resumed.err
        return [line["epoch"] for line in metrics(run)] == [0, 1, 2, 3, 4]

    return check


@pytest.mark.slow
@STAGES
def test_an_error_is_said_with_its_process_and_one_traceback(stage, broken, goes_on):
    ended = broken(SIGNAL.format("SIGVTALRM"), 10, stage)
    assert ended.returncode == 1
    assert errors(ended) == ["error: process 1: RuntimeError: out of ink"]
    assert ended.stderr.startswith("Traceback (most recent call last):\n")
    assert ended.stderr.count("out of ink") == 2  # in the line of code, and as the error
    assert goes_on()


# Of groups without a run it is in tests/engine/test_launch.py.
@pytest.mark.slow
@STAGES
def test_a_process_that_is_killed_is_said_with_the_signal(stage, broken, goes_on):
    ended = broken(SIGNAL.format("SIGKILL"), 10, stage)
    assert ended.returncode == 128 + signal.SIGKILL
    assert ended.stderr == "error: process 1: killed by SIGKILL (out of memory? see dmesg)\n"
    assert goes_on()


@pytest.mark.slow
def test_the_trace_of_a_segmentation_fault_is_in_its_process_log(broken, tmp_path):
    ended = broken("faulthandler._sigsegv()", within=10)
    assert ended.returncode == 128 + signal.SIGSEGV
    assert ended.stderr == "error: process 1: killed by SIGSEGV\n"
    run = only_run(tmp_path / "out")
    assert "reward.py" in (run / "run_rank_1.log").read_text()
    # The first process may have noted that it lost the other, before it was ended too.
    assert {log.name for log in run.glob("*.log")} <= {"run.log", "run_rank_1.log"}


@pytest.mark.slow
@STAGES
def test_a_process_that_hangs_is_said_with_where(stage, broken, goes_on):
    ended = broken(SIGNAL.format("SIGUSR2"), LIMIT + 15, stage)
    assert ended.returncode == 1
    (error,) = errors(ended)
    assert error.startswith("error: process 1: no progress for ")
    assert "in hangs" in ended.stderr
    assert goes_on()


@pytest.mark.slow
@STAGES
def test_a_process_that_is_stopped_is_said_by_those_that_wait(stage, broken, goes_on):
    ended = broken(SIGNAL.format("SIGSTOP"), LIMIT + 15, stage)
    assert ended.returncode == 1
    (error,) = ended.stderr.splitlines()
    assert error.startswith("error: process 0: waited ")
    assert error.endswith(" s for the other processes; no sign of life from process 1")
    assert goes_on()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_is_restarted_ends_as_if_nothing_had_been(
    processes, changed, zoo_here, tmp_path
):
    arguments = changed(SIGNAL.format("SIGKILL"), processes=processes, rank=processes - 1)
    ended = zoo("train", NFT, *arguments, "--max-restarts", 2, anew=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == (
        f"process {processes - 1} failed: killed by SIGKILL (out of memory? see dmesg); "
        "going on from epoch 2, restart 1 of 2\n"
    )
    (tmp_path / "out").rename(tmp_path / "restarted")
    whole = zoo_here("train", NFT, *arguments)  # the marker is there: nothing goes wrong
    assert whole.code == 0, whole.err
    require_same(only_run(tmp_path / "restarted"), only_run(tmp_path / "out"))


@pytest.mark.slow
def test_two_runs_at_once_do_not_meet_and_need_no_fixed_port(start, tmp_path):
    with closing(socket.socket()) as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        busy.bind(("127.0.0.1", 29500))
        busy.listen()
        runs = []
        for name in ("one", "two"):
            arguments = overrides("nft", tmp_path / name, epochs=2, engine__processes=2)
            runs.append(start("train", NFT, *arguments))
        for run in runs:
            _, err = run.communicate(timeout=120)
            assert run.returncode == 0, err
            assert not err
    one, two = (metrics(only_run(tmp_path / name)) for name in ("one", "two"))
    assert without_clocks(one) == without_clocks(two)
