"""A function of the tests in several processes of one group, as a run has them.

python -m tests.engine.in_processes PROCESSES MODULE:FUNCTION ARGUMENT.json
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests import forked
from tests.runs import clean_environment


def in_processes(
    function: str,
    processes: int,
    folder: Path,
    argument: Any = None,
    *,
    deepspeed: bool = False,
    **environment: str,
) -> None:
    """Calls `module:function(argument)` in so many processes; fails where any of them does.

    With `deepspeed` they have imported it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = folder / f"argument_{processes}.json"
    given.write_text(json.dumps(argument))
    arguments = ["tests.engine.in_processes", str(processes), function, str(given)]
    done = forked.run(
        arguments, clean_environment(**environment), timeout=1800, deepspeed=deepspeed
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _main() -> int:
    """Starts the processes, or is one of them."""
    from zoo.engine.launch import launch
    from zoo.engine.rendezvous import is_worker

    processes, function, given = sys.argv[1:]
    if is_worker():
        _call(function, json.loads(Path(given).read_text()))
        return 0
    failure = launch(["-m", "tests.engine.in_processes", *sys.argv[1:]], int(processes))
    sys.stdout.write(f"{failure}\n")
    return int(failure is not None)


def _call(function: str, argument: Any) -> None:
    import torch

    from zoo.engine.launch import report
    from zoo.engine.rendezvous import join, leave

    torch.set_num_threads(1)
    module, _, name = function.partition(":")
    join(600, print, alone=True)
    try:
        getattr(import_module(module), name)(argument)
        torch.distributed.barrier()
    except BaseException:
        import traceback

        report(traceback.format_exc())
        raise
    leave()


if __name__ == "__main__":
    code = _main()
    sys.stdout.flush()
    os._exit(code)  # As the command leaves: torch's threads sometimes abort the shutdown.
