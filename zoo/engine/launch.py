"""Starting several processes with torch's elastic launch.

Each worker is the same command, told its rank by the environment: RANK, WORLD_SIZE and LOCAL_RANK.
It reads no more than those, so it also runs under an external `torchrun`.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_SECONDS_TO_END = 5
"""What the others are given when a worker has failed."""


def started_by_launcher() -> bool:
    """Whether this process is a worker already."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def report(message: str) -> bool:
    """Leaves a worker's last words for the launcher, if one started this process; else False."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return False
    Path(file).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))
    return True


@dataclass(frozen=True)
class Failure:
    """Why a launch failed: the process at fault, its exit code and its last words."""

    rank: int
    exit_code: int
    message: str


def launch(arguments: Sequence[str], processes: int) -> Failure | None:
    """Runs `python arguments` in so many processes here; the failure at fault, or None.

    When one fails the others are ended. Two launches on one machine do not meet: the port is free
    and their own. SIGINT and SIGTERM are passed on, and the workers take the time they need.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _quiet()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="zoo",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        monitor_interval=0.2,
        shutdown_timeout=_SECONDS_TO_END,
        # Its own handling of the others kills the workers after a time, saved or not.
        signals_to_handle="SIGQUIT",
    )
    try:
        with _passed_on():
            elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        failures = [
            Failure(rank, _exit_code(failure.exitcode), str(failure.message))
            for rank, failure in sorted(
                error.failures.items(), key=lambda item: (item[1].timestamp, item[0])
            )
        ]
        return min(failures, key=_consequence)
    return None


def _exit_code(code: int) -> int:
    """As a shell has it: 128 and the signal's number for a process that was killed."""
    return code if code >= 0 else 128 - code


def _consequence(failure: Failure) -> bool:
    """Whether it may be only that another process went away, or was ended for that."""
    text = failure.message.lower()
    return failure.exit_code == 128 + signal.SIGTERM or any(
        word in text for word in ("gloo", "nccl", "connection closed", "distbackenderror")
    )


@contextmanager
def _passed_on() -> Iterator[None]:
    """SIGINT and SIGTERM go to the workers, which save and leave, or leave at the second."""
    import psutil

    def pass_on(number: int, frame: FrameType | None) -> None:
        for worker in psutil.Process().children():
            worker.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quiet() -> None:
    """Torch's own report repeats a worker's message in thirty lines."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
