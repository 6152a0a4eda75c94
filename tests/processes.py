"""Commands as processes beside a test, and what to wait for."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runs import ROOT, clean_environment, command


@contextmanager
def starting() -> Iterator[Callable[..., subprocess.Popen]]:
    """Yields what starts the command; what is left of it at the end is killed."""
    started = []

    def run(*arguments: object) -> subprocess.Popen:
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=clean_environment(), cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    try:
        yield run
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def wait_until(holds: Callable[[], bool], process: subprocess.Popen, seconds: float = 120) -> None:
    """Looks until it holds; fails where the process ends before, or it takes too long."""
    end = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def hanging_reward(folder: Path) -> tuple[Path, Callable[[], bool]]:
    """A reward's file, `score` in it, which hangs when it is called again; and whether it does."""
    called, file = folder / "called", folder / "hanging.py"
    file.write_text(
        "import time\nfrom pathlib import Path\n\n"
        f"called = Path({str(called)!r})\n\n\n"
        "def score(images, prompts):\n"
        "    if called.exists():\n"
        "        called.write_text('again')\n"
        "        time.sleep(600)\n"
        "    called.write_text('once')\n"
        "    return images.mean(dim=(1, 2, 3))\n"
    )
    return file, lambda: called.exists() and called.read_text() == "again"


def children_of(process: subprocess.Popen) -> list[int]:
    """The processes that it started."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [int(pid) for pid in found.stdout.split()]
