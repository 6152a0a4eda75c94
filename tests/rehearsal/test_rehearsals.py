"""Everything in `on_it` holds where there is a pretend accelerator: in processes that have it.

While you work on one: ZOO_REHEARSAL=1 python -m pytest tests/rehearsal/on_it -k NAME
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rehearsal.conftest import HERE
from tests.runs import ROOT, clean_environment

ON_IT = Path(__file__).parent / "on_it"
# Without the checks of shapes, which cost as much again: the same code has them elsewhere.
ADDED = "--import-mode=importlib -q --strict-markers"
OPTIONS = ("-p", "no:cacheprovider", "--tb=short", "-o", f"addopts={ADDED}")
SLOW = [file.name for file in sorted(ON_IT.glob("test_*.py")) if "mark.slow" in file.read_text()]


def rehearse(*arguments: str) -> None:
    """Fails with what pytest says, where a test fails there or none is found."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, *arguments],
        cwd=ROOT, env=clean_environment(**{HERE: "1"}), capture_output=True, text=True, check=False,
        timeout=1200,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)


def test_the_fast_rehearsals_hold():
    rehearse(str(ON_IT), "-m", "not slow")


@pytest.mark.slow
@pytest.mark.parametrize("file", SLOW)
def test_the_slow_rehearsals_hold(file):
    rehearse(str(ON_IT / file), "-m", "slow")
