"""A process for each GPU: started, watched, and ended together."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from zoo.engine.fault import Ended, Failure, Words, at_fault
from zoo.engine.stop_signals import catch_stopping
from zoo.storage.files import write_text

_SECONDS_TO_END = 5
"""What the others are given when a worker has failed: to notice, to save, to say why."""

_SECONDS_TO_SAVE = 60
"""What they are given when a worker has ended for a reason that they all have."""

_SECONDS_BETWEEN_LOOKS = 0.05

_WORDS = "TORCHELASTIC_ERROR_FILE"
"""Names the file for a worker's last words; an external `torchrun` sets it too."""


def report(message: str, *, trace: str = "", waited: bool = False) -> bool:
    """Leaves a worker's last words for the launcher, if one started this process; else False.

    `trace` is a traceback, `waited` says that the message is only about other processes.
    """
    file = os.environ.get(_WORDS)
    if not file:
        return False
    # As `torchrun` reads it.
    extra = {"py_callstack": f"{trace}{message}", "timestamp": str(int(time.time()))}
    said = {"message": message, "extraInfo": extra, "trace": trace, "waited": waited}
    # Whole or not at all: two threads may come to their last words.
    write_text(Path(file), json.dumps({"message": said}))
    return True


def launch(
    arguments: Sequence[str],
    processes: int,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Failure | None:
    """Runs `python arguments` in so many processes here; the failure at fault, or None.

    They inherit the `descriptors`. When one fails the others are ended. Two launches on one machine
    do not meet: the port is free and their own. Signals to stop are passed on, and the workers take
    the time they need.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        **os.environ,
        **(environment or {}),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        # The workers find the store here, so no port has to be free until the first opens it.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    workers: list[_Worker] = []
    with tempfile.TemporaryDirectory(prefix="zoo_") as folder, _pass_signals_on(workers) as asked:
        try:
            for rank in range(processes):
                words = Path(folder) / f"{rank}.json"
                workers.append(_Worker(rank, arguments, shared, words, descriptors))
            failure = at_fault(_wait_for_all(workers), asked)
            if failure is None:
                workers.clear()
            return failure
        finally:
            for worker in workers:
                worker.kill()


class _Worker:
    """A process, the leader of a group of its own: Ctrl-C in a terminal reaches the launcher."""

    def __init__(
        self,
        rank: int,
        arguments: Sequence[str],
        shared: Mapping[str, str],
        words: Path,
        descriptors: Sequence[int],
    ) -> None:
        self.rank = rank
        self.by_launcher = False
        self._words = words
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), _WORDS: str(words)}
        self._process = subprocess.Popen(
            [sys.executable, *arguments], env={**shared, **own}, start_new_session=True,
            pass_fds=descriptors,
        )  # fmt: skip

    def code(self) -> int | None:
        """Its exit code once it has ended; less than 0 is a signal."""
        return self._process.poll()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kills it and what it has started, if any of it is left."""
        self.by_launcher |= self.code() is None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def read_end(self) -> Ended:
        code = self.code()
        assert code is not None
        words = None
        if self._words.is_file():
            said = json.loads(self._words.read_text())["message"]
            words = Words(said["message"], said["trace"], said["waited"])
        return Ended(self.rank, code, words, self.by_launcher)


def _wait_for_all(workers: Sequence[_Worker]) -> list[Ended]:
    """Waits for all, in the order of their ends; once one has failed only so long."""
    running, ended = list(workers), []
    until = float("inf")
    while running:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        for worker in [worker for worker in running if worker.code() is not None]:
            running.remove(worker)
            ended.append(worker.read_end())
            if ended[-1].code:
                until = min(until, time.monotonic() + _patience(ended[-1]))
        if time.monotonic() > until:
            for worker in running:
                worker.kill()
    return ended


def _patience(failed: Ended) -> float:
    """How long the others may take: one that was asked to stop, or met its end, is not alone."""
    return _SECONDS_TO_SAVE if failed.stopped or failed.expected else _SECONDS_TO_END


@contextmanager
def _pass_signals_on(workers: Sequence[_Worker]) -> Iterator[Sequence[int]]:
    """Signals to stop go to the workers, which save and leave, or leave at the second.

    At the third they are ended whatever they do. Yields the signals so far.
    """
    asked: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for worker in workers:
            if len(asked) < 3:
                worker.send(number)
            else:
                worker.kill()

    with catch_stopping(pass_on):
        yield asked
