"""python -m tests.attack.dies_at NUMBER FOLDER ARGUMENTS: `zoo ARGUMENTS`, killed on the way.

Just before it opens, renames, makes or deletes a file below the folder for the NUMBER-th time.
"""

import itertools
import os
import runpy
import signal
import sys

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}


def main() -> None:
    """Becomes the command."""
    number, folder = int(sys.argv[1]), sys.argv[2]
    seen = itertools.count(1)

    def die(event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and str(arguments[0]).startswith(folder) and next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    sys.argv = ["zoo", *sys.argv[3:]]
    runpy.run_module("zoo", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
