"""Processes that are started together end together, and the one at fault is named."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from tests.runs import ROOT
from zoo.engine.launch import launch, report

KILLED = "killed by SIGKILL (out of memory? see dmesg)"

# A worker that talks with the others for ever; each case goes wrong on rank 1.
WORKER = """
import os, signal, time, traceback
import torch
import torch.distributed as dist
from zoo.engine import watchdog
from zoo.engine.launch import report

dist.init_process_group("gloo")
rank = dist.get_rank()
number = 0
try:
    watchdog.start(2)
    while True:
        watchdog.pulse()
        number += 1
        if rank == 1 and number == 20:
            FAULT
        with watchdog.waiting():
            dist.all_reduce(torch.ones(1))
except Exception as error:
    report(f"{type(error).__name__}: {error}", trace=traceback.format_exc())
    dist.destroy_process_group()
    os._exit(1)
"""


def go(fault, processes=2):
    text = WORKER.replace("FAULT", fault)
    before = set(psutil.Process().children(recursive=True))
    started = time.monotonic()
    failure = launch(["-c", text], processes, {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    assert time.monotonic() - started < 40
    assert before >= set(psutil.Process().children(recursive=True))
    return failure


def test_workers_that_end_well_are_no_failure(tmp_path):
    script = f"import os; open(os.path.join({str(tmp_path)!r}, os.environ['RANK']), 'w')"
    assert launch(["-c", script], 3) is None
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "exit_code", "message"),
    [
        ("raise ValueError('out of ink')", 1, "ValueError: out of ink"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", 137, KILLED, marks=pytest.mark.slow),
        pytest.param(
            "os._exit(7)", 7, "ended with exit code 7, saying nothing", marks=pytest.mark.slow
        ),
    ],
)
def test_a_worker_that_fails_is_named_not_those_that_it_left_behind(fault, exit_code, message):
    failure = go(fault, processes=3)
    assert (failure.rank, failure.exit_code, failure.message) == (1, exit_code, message)


@pytest.mark.slow
def test_the_cause_is_named_though_its_process_ends_after_the_others():
    # Its connections close, and the others fail and end, before it does.
    failure = go("dist.destroy_process_group(); time.sleep(1); os._exit(7)")
    assert (failure.rank, failure.exit_code) == (1, 7)


@pytest.mark.slow
def test_a_worker_that_hangs_says_where():
    failure = go("while True: pass", processes=3)
    assert failure.rank == 1
    assert failure.message.startswith("no progress for ")
    assert "<module>" in failure.trace


@pytest.mark.slow
def test_a_worker_that_gives_no_sign_of_life_is_named_by_those_that_wait(monkeypatch):
    # It is stopped, so it is killed when its time to end is over.
    monkeypatch.setattr("zoo.engine.launch._SECONDS_TO_END", 0.5)
    failure = go("os.kill(os.getpid(), signal.SIGSTOP)")
    assert (failure.rank, failure.exit_code) == (0, 1)
    assert failure.message.startswith("waited ")
    assert failure.message.endswith("for the other processes; no sign of life from process 1")


def test_what_a_worker_started_ends_with_it(tmp_path):
    kept = tmp_path / "pid"
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(kept)!r}, 'w').write(str(child.pid))\n"
        "os._exit(3)"
    )
    assert launch(["-c", script], 1).exit_code == 3
    psutil.wait_procs([psutil.Process(int(kept.read_text()))] if alive(kept) else [], timeout=10)
    assert not alive(kept)


def alive(kept):
    pid = int(kept.read_text())
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_workers_end_when_the_launcher_is_killed(tmp_path):
    worker = textwrap.dedent(f"""
        import os, time
        from zoo.engine import watchdog
        watchdog.start(600)
        open(os.path.join({str(tmp_path)!r}, os.environ['RANK']), 'w').write(str(os.getpid()))
        time.sleep(600)
        """)
    text = f"from zoo.engine.launch import launch\nlaunch(['-c', {worker!r}], 2)"
    launcher = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT)
    kept = [tmp_path / str(rank) for rank in range(2)]
    wait_until(lambda: all(file.is_file() and file.read_text() for file in kept))
    assert all(alive(file) for file in kept)
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not any(alive(file) for file in kept))


def wait_until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_third_signal_ends_workers_that_heed_none(tmp_path):
    worker = textwrap.dedent(f"""
        import os, signal, time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        open(os.path.join({str(tmp_path)!r}, os.environ['RANK']), 'w').write(str(os.getpid()))
        time.sleep(600)
        """)
    text = (
        "import sys\nfrom zoo.engine.launch import launch\n"
        f"sys.exit(launch(['-c', {worker!r}], 2).exit_code)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT)
    kept = [tmp_path / str(rank) for rank in range(2)]
    wait_until(lambda: all(file.is_file() and file.read_text() for file in kept))
    for _ in range(3):
        assert launcher.poll() is None
        launcher.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert launcher.wait(timeout=30) == 128 + signal.SIGINT
    assert not any(alive(file) for file in kept)


def test_without_a_launcher_there_is_nobody_to_report_to(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    assert not report("anything")


def test_last_words_are_as_torchrun_reads_them(monkeypatch, tmp_path):
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "words.json"))
    assert report("ValueError: out of ink", trace="Traceback ...\n")
    failure = ProcessFailure(1, 2, 1, str(tmp_path / "words.json"))
    assert failure.message["message"] == "ValueError: out of ink"
    assert failure.message["extraInfo"]["py_callstack"] == "Traceback ...\nValueError: out of ink"
