"""What is forked in tests is, from outside, what would have been started."""

import os
import signal
import subprocess
import sys

import pytest

from tests import forked
from tests.runs import ROOT, clean_environment

SHOWS = """
import os, sys
print(__name__, sys.argv[1:], os.getcwd(), os.environ.get("COLUMNS"), sys.stdin.read())
print(sys.stdout.isatty(), "RANK" in os.environ, os.getsid(0) == os.getpid(), file=sys.stderr)
if "raise" in sys.argv:
    raise ValueError("out of ink")
if "kill" in sys.argv:
    os.kill(os.getpid(), 9)
sys.exit(7)
"""


@pytest.fixture
def module(tmp_path):
    """A module that shows what it was given, and the environment that finds it."""
    (tmp_path / "shows.py").write_text(SHOWS)
    return clean_environment(PYTHONPATH=str(tmp_path), COLUMNS="99")


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(("how", "code"), [("end", 7), ("raise", 1), ("kill", -signal.SIGKILL)])
def test_it_ends_and_says_what_a_started_one_does(how, code, module):
    found = forked.run(["shows", how], module, timeout=60)
    expected = subprocess.run(
        [sys.executable, "-m", "shows", how], capture_output=True, text=True, env=module, cwd=ROOT,
        stdin=subprocess.DEVNULL, start_new_session=True, check=False,
    )  # fmt: skip
    assert found.returncode == expected.returncode == code
    assert found.stdout == expected.stdout
    assert found.stderr.splitlines()[0] == expected.stderr.splitlines()[0] == "False False True"
    assert found.stderr.splitlines()[-1] == expected.stderr.splitlines()[-1]


@pytest.mark.slow
def test_one_that_takes_too_long_is_killed(tmp_path, module):
    (tmp_path / "hangs.py").write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run(["hangs"], module, timeout=5)
    pid = int((tmp_path / "pid").read_text())
    # The server reaps it before it answers the next question.
    forked.run(["shows"], module, timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_variable_that_libraries_read_makes_it_a_process_of_its_own(module, tmp_path):
    (tmp_path / "whose.py").write_text("import sys\nprint('peft' in sys.modules)\n")
    assert forked.run(["whose"], module, timeout=60).stdout == "True\n"
    other = {**module, "HF_HOME": str(tmp_path)}
    assert forked.run(["whose"], other, timeout=60).stdout == "False\n"
