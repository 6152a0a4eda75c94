"""A function of the tests in several processes of one group, as a run has them.

python -m tests.engine.in_processes MODULE:FUNCTION ARGUMENT.json
"""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.runs import ROOT, clean_environment

_START = (
    "import sys; from zoo.engine.launch import launch; "
    "failure = launch(['-m', 'tests.engine.in_processes', *sys.argv[2:]], int(sys.argv[1])); "
    "print(failure or ''); sys.exit(failure is not None)"
)


def in_processes(
    function: str, processes: int, folder: Path, argument: Any = None, **environment: str
) -> None:
    """Calls `module:function(argument)` in so many processes; fails where any of them does."""
    folder.mkdir(parents=True, exist_ok=True)
    given = folder / f"argument_{processes}.json"
    given.write_text(json.dumps(argument))
    done = subprocess.run(
        [sys.executable, "-c", _START, str(processes), function, str(given)],
        capture_output=True, text=True, env=clean_environment(**environment), cwd=ROOT,
        timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _main() -> None:
    import torch

    from zoo.engine import launch as processes
    from zoo.engine.launch import report

    torch.set_num_threads(1)
    module, _, name = sys.argv[1].partition(":")
    processes.join(600, alone=True)
    try:
        getattr(import_module(module), name)(json.loads(Path(sys.argv[2]).read_text()))
        torch.distributed.barrier()
    except BaseException:
        import traceback

        report(traceback.format_exc())
        raise
    processes.leave()


if __name__ == "__main__":
    _main()
    sys.stdout.flush()
    os._exit(0)  # As the command leaves: torch's threads sometimes abort the shutdown.
