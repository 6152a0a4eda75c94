"""What a worker's libraries print is in the run's log, and what it says itself is not."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.runs import ROOT, clean_environment

# As Python, as C code, and as a process that it starts.
PRINTS = """
import os, subprocess, sys

def prints(name):
    print(name, "out")
    print(name, "err", file=sys.stderr)
    os.write(1, f"{name} fd out\\n".encode())
    os.write(2, f"{name} fd err\\n".encode())
    subprocess.run(["sh", "-c", f"echo {name} child out; echo {name} child err >&2"])
"""
KINDS = ("", "fd ", "child ")


@pytest.fixture
def ended(tmp_path):
    """Runs lines with `LibraryOutput`, `prints` and the folder `run`, temporary files beside it."""
    run, temporary = tmp_path / "run", tmp_path / "temporary"
    run.mkdir()
    temporary.mkdir()

    def do(text):
        text = (
            "from pathlib import Path\nfrom zoo.cli.foreign_output import LibraryOutput\n"
            f"run = Path({str(run)!r})"
            f"{PRINTS}{textwrap.dedent(text)}"
        )
        done = subprocess.run(
            [sys.executable, "-u", "-c", text], capture_output=True, text=True, timeout=60,
            env=clean_environment(TMPDIR=str(temporary)), cwd=ROOT, check=False,
        )  # fmt: skip
        done.run, done.temporary = run, [temporary / name for name in os.listdir(temporary)]
        return done

    return do


def lines(name, *streams):
    return sorted(f"{name} {kind}{stream}" for kind in KINDS for stream in streams)


BOTH = """
with LibraryOutput(RANK) as output:
    prints("early")
    output.into(run)
    prints("late")
prints("after")
"""


def test_the_first_process_keeps_its_stdout(ended):
    done = ended(BOTH.replace("RANK", "0"))
    assert done.returncode == 0, done.stderr
    stdout = [*lines("early", "out"), *lines("late", "out"), *lines("after", "out")]
    assert sorted(done.stdout.splitlines()) == sorted(stdout)
    assert sorted(done.stderr.splitlines()) == lines("after", "err")
    logged = (done.run / "run.log").read_text().splitlines()
    assert sorted(logged[:3]) == lines("early", "err")
    assert sorted(logged[3:]) == lines("late", "err")
    assert os.listdir(done.run) == ["run.log"]
    assert not done.temporary


def test_the_others_are_silent(ended):
    done = ended(BOTH.replace("RANK", "3"))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == lines("after", "out")
    logged = (done.run / "run_rank_3.log").read_text().splitlines()
    assert sorted(logged) == sorted([*lines("early", "out", "err"), *lines("late", "out", "err")])
    assert os.listdir(done.run) == ["run_rank_3.log"]
    assert not done.temporary


@pytest.mark.parametrize("rank", [0, 1])
def test_where_nothing_was_printed_nothing_is_left(rank, ended):
    done = ended(f"with LibraryOutput({rank}) as output:\n    output.into(run)")
    assert done.returncode == 0, done.stderr
    assert not os.listdir(done.run)
    assert not done.temporary


def test_the_log_of_a_run_is_added_to(ended):
    done = ended(
        """
        (run / "run.log").write_text("warning: before\\n")
        with LibraryOutput(0) as output:
            output.into(run)
            print("output", file=sys.stderr)
            with (run / "run.log").open("a") as file:
                file.write("warning: between\\n")
            print("more", file=sys.stderr)
        """
    )
    logged = (done.run / "run.log").read_text().splitlines()
    assert logged == ["warning: before", "output", "warning: between", "more"]


def test_an_error_before_there_is_a_run_leaves_the_log_and_is_printed(ended):
    done = ended(
        "with LibraryOutput(1) as output:\n    prints('early')\n    raise ValueError('out of ink')"
    )
    assert done.stderr.splitlines()[-1] == "ValueError: out of ink"
    assert not done.stdout
    (log,) = done.temporary
    assert sorted(log.read_text().splitlines()) == lines("early", "out", "err")


def test_an_end_or_a_silent_error_before_there_is_a_run_leaves_nothing(ended):
    assert not ended("with LibraryOutput(1) as output:\n    prints('early')").temporary
    assert not ended("with LibraryOutput(1) as output:\n    raise ValueError").temporary


def test_a_run_folder_on_another_machine_is_not_written_to(ended):
    done = ended(
        "with LibraryOutput(1) as output:\n    output.into(run / 'none')\n    prints('early')"
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert not os.listdir(done.run)
    assert not done.temporary


def test_the_trace_of_a_segmentation_fault_is_in_the_log(ended):
    done = ended(
        """
        import faulthandler
        with LibraryOutput(1) as output:
            output.into(run)
            faulthandler._sigsegv()
        """
    )
    assert done.returncode == -11
    assert not done.stderr
    assert "Fatal Python error: Segmentation fault" in (done.run / "run_rank_1.log").read_text()
