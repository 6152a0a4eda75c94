"""The order of the suite: what takes longest begins first, so that no worker waits for it alone.

And the environment: what a library puts there in one test is not there in the next, where it would
make every command a process of its own (see `forked`). So it is with torch's deterministic kernels,
which are of the whole process.
"""

import os
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# Files that start groups of processes and files that compute in one take turns, as two workers take
# them from the front: two groups of three processes on two cores only get in each other's way.
LONGEST_FIRST = (
    "invariants/test_zero.py",
    "recipes/test_recipes.py",
    "engine/test_zero.py",
    "cli/test_new_plugin.py",
    "cli/test_faults.py",
    "policy/test_flux.py",
    "cli/test_compare.py",
    "invariants/test_stages.py",
    "cli/test_signals.py",
    "policy/test_sd3.py",
    "invariants/test_processes.py",
    "cli/test_mistakes.py",
    "engine/test_launch.py",
    "cli/test_offline.py",
    "cli/test_start.py",
    "recipe/test_tiny.py",
    "cli/test_extending.py",
    "invariants/test_resume.py",
    "sampler/test_window.py",
    "cli/test_isolated_runs.py",
    "plan/test_memory.py",
    "cli/test_evaluate.py",
    "report/test_run_page.py",
    "compare/test_page.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Marks slow cases before some are left out, and sorts those that are not."""
    _mark_further_cases(items)
    yield
    # Those of a file keep their order and stay together.
    places = {HERE / name: place for place, name in enumerate(LONGEST_FIRST)}
    gone = [path for path in places if not path.is_file()]
    if gone:
        raise pytest.UsageError(f"tests/conftest.py: LONGEST_FIRST names what is gone: {gone}")
    items.sort(key=lambda item: places.get(item.path, len(places)))


def _mark_further_cases(items: list[pytest.Item]) -> None:
    """Of a test with `fast_cases(n)` all cases but the first n are slow."""
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("fast_cases")
        if marker and not item.get_closest_marker("slow"):
            test = item.nodeid.partition("[")[0]
            seen[test] += 1
            if seen[test] > marker.args[0]:
                item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Puts the environment and torch's kernels back after each test."""
    before = dict(os.environ)
    try:
        return (yield)
    finally:
        if os.environ != before:
            os.environ.clear()
            os.environ.update(before)
        torch = sys.modules.get("torch")
        if torch is not None and torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(False)
