"""What libraries print on a worker goes to the run's log, not among the others' lines.

It is taken at the file descriptors, so what C++ code prints is taken too, and the trace of a
process that dies of a segmentation fault. The command's own layer, as it alone has a terminal.
"""

import faulthandler
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from zoo.errors import UserError

_OUT, _ERR = 1, 2


class LibraryOutput:
    """While it is entered, stderr goes to a log; of all processes but the first, stdout too."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._taken = (_ERR,) if rank == 0 else (_OUT, _ERR)
        self._before: dict[int, int] = {}
        # Until there is a run folder.
        file, name = tempfile.mkstemp(prefix=f"zoo_rank_{rank}_", suffix=".log")
        os.close(file)
        self._log = Path(name)
        self._in_run = False

    def __enter__(self) -> "LibraryOutput":
        self._before = {number: os.dup(number) for number in self._taken}
        self._go_on_in(self._log)
        if not faulthandler.is_enabled():
            faulthandler.enable(file=_ERR)
        return self

    def say(self, line: str) -> None:
        """A line for the terminal, whose stderr this has taken."""
        with suppress(OSError):
            os.write(self._before[_ERR], f"{line}\n".encode())

    def into(self, run_dir: Path) -> None:
        """Moves what was written so far to the run's folder, and goes on there.

        The first process has `run.log`, where warnings are, the others `run_rank_<r>.log`.
        """
        if not run_dir.is_dir():
            return  # It is on another machine.
        temporary = self._log
        self._go_on_in(run_dir / (f"run_rank_{self._rank}.log" if self._rank else "run.log"))
        with self._log.open("ab") as file:
            file.write(temporary.read_bytes())
        temporary.unlink()
        self._in_run = True

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        _flush()
        for number, before in self._before.items():
            os.dup2(before, number)
            os.close(before)
        log = self._log
        # With an error before there is a run, the log is all that is left of it.
        failed = isinstance(error, Exception) and not isinstance(error, UserError)
        if log.is_file() and not ((self._in_run or failed) and log.stat().st_size):
            log.unlink()
        elif failed and not self._in_run and log.is_file():
            sys.stderr.write(f"process {self._rank}: what libraries printed is in {log}\n")

    def _go_on_in(self, log: Path) -> None:
        _flush()
        # Others append to it as well: the tracker, and the launcher.
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in self._taken:
            os.dup2(file, number)
        os.close(file)
        self._log = log


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
