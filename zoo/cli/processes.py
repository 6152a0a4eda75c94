"""Commands on several processes: joined where there are others, started again where one fails."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from zoo.cli.foreign_output import LibraryOutput
from zoo.engine.fault import Failure
from zoo.engine.launch import launch
from zoo.engine.rendezvous import is_worker, join, leave, rank
from zoo.recipe.recipe import Recipe
from zoo.run import writer
from zoo.terminal import Terminal, say


@contextmanager
def join_processes(recipe: Recipe, *, sharded: bool) -> Iterator[tuple[int, LibraryOutput | None]]:
    """Yields the number of processes, and the log of what libraries print; then leaves the others.

    `sharded` is for DeepSpeed, which needs a process group of one process too, and is noisy.
    """
    from zoo.engine import watchdog
    from zoo.engine.beats import Beats

    _share_cores(recipe)
    seconds, to_terminal = recipe.engine.timeout, partial(say, err=True)
    with LibraryOutput(rank()) if is_worker() or sharded else nullcontext() as output:
        try:
            size, store = join(seconds, output.say if output else to_terminal, alone=sharded)
            if is_worker():
                watchdog.start(seconds, Beats(store, rank(), size) if store else None)
            yield size, output
            # Only where all went well: NCCL leaves together, and one that failed would wait for
            # the others, which wait for it, instead of saying why.
            leave()
        finally:
            watchdog.stop()


def _share_cores(recipe: Recipe) -> None:
    """As many CPU threads as the recipe says; by default the processes here share the cores."""
    import torch

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if recipe.engine.threads != "auto":
        torch.set_num_threads(recipe.engine.threads)
    elif local > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local))


_RUN_FOLDER_FILE = "ZOO_RUN_FOLDER_FILE"
"""Names a file in which the first worker leaves the run's folder for the launcher."""


def leave_run_folder(folder: Path) -> None:
    """Tells the launcher, if one started this process, which folder to go on with."""
    file = os.environ.get(_RUN_FOLDER_FILE)
    if file:
        Path(file).write_bytes(os.fsencode(folder))


def launch_workers(processes: int, max_restarts: int, lock: int | None = None) -> int:
    """The exit code of this command in so many processes, with the failure said once.

    After a failure that is neither the user's mistake nor a signal to stop, the run goes on from
    its last checkpoint, so many times; where it has none yet, the command starts anew. `lock` is
    the descriptor of the run's lock, where this process holds it: see `zoo.run.writer`.

    Raises:
        UserError: another process has gone on with the run meanwhile.
    """
    arguments, restarts = sys.argv[1:], 0
    with tempfile.TemporaryDirectory(prefix="zoo_") as temporary, ExitStack() as held:
        file = Path(temporary) / "run_folder"
        while True:
            shared = {_RUN_FOLDER_FILE: str(file), **writer.inheriting(lock)}
            locks = () if lock is None else (lock,)
            failure = launch(["-m", "zoo", *arguments], processes, shared, locks)
            if failure is None:
                return 0
            _show_cursor()
            folder = Path(os.fsdecode(file.read_bytes())) if file.is_file() else None
            _remove_empty_logs(folder)
            if failure.stopped or failure.exit_code == 2 or restarts == max_restarts:
                _say(failure)
                return failure.exit_code
            restarts += 1
            start = _newest_epoch(folder)
            if folder is not None and start is not None:
                arguments = ["train", "--resume", str(folder)]
                if lock is None:
                    lock = held.enter_context(writer.hold(folder, say))
            _say_what_next(failure, start, f"restart {restarts} of {max_restarts}")
            _log(failure, folder)


def _newest_epoch(folder: Path | None) -> int | None:
    """Of a run's last checkpoint."""
    from zoo.run import checkpoint

    newest = checkpoint.latest(folder) if folder is not None else None
    return checkpoint.epoch_of(newest) if newest is not None else None


def _say(failure: Failure) -> None:
    said = (f"error: process {failure.rank}: {line}" for line in failure.message.splitlines())
    say(*failure.trace.splitlines(), *said, err=True)


def _say_what_next(failure: Failure, start: int | None, restart: str) -> None:
    first = failure.message.partition("\n")[0]
    going_on = "starting anew" if start is None else f"going on from epoch {start}"
    say(f"process {failure.rank} failed: {first}; {going_on}, {restart}", err=True)


def _log(failure: Failure, folder: Path | None) -> None:
    """All of a failure that is said in one line on the terminal."""
    if folder is not None:
        with (folder / "run.log").open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{failure.trace}process {failure.rank} failed: {failure.message}\n")


def _remove_empty_logs(folder: Path | None) -> None:
    """A worker that was killed could not remove its own."""
    for log in folder.glob("run*.log") if folder is not None else ():
        if not log.stat().st_size:
            log.unlink()


def _show_cursor() -> None:
    """A progress bar hides it, and a worker that was killed did not bring it back."""
    Terminal().show_cursor()
