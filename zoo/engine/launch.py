"""Starting several processes with torch's elastic launch.

Each worker is the same command, told its rank by the environment: RANK, WORLD_SIZE and LOCAL_RANK.
It reads no more than those, so it also runs under an external `torchrun`.
"""

import logging
import os
import sys
from collections.abc import Sequence


def started_by_launcher() -> bool:
    """Whether this process is a worker already."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(arguments: Sequence[str], processes: int) -> int:
    """Runs `python arguments` in so many processes here; the exit code of the first that failed.

    When one fails the others are ended. Two launches on one machine do not meet: the port is free
    and their own.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Its own report repeats the worker's message in thirty lines.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="zoo",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    return 0
