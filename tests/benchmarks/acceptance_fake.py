"""Parts that end in every way: `python -m tests.benchmarks.acceptance_fake PART --out FOLDER`."""

import json
import os
import sys
import time
from pathlib import Path


def write(part: str, folder: Path, small: bool, **more: object) -> None:
    result = {"part": part, "small": small, "where": "here", "seconds": 0.5, **more}
    (folder / f"{part}.json").write_text(json.dumps(result))


def main() -> None:
    part, small = sys.argv[1], "--small" in sys.argv
    folder = Path(sys.argv[sys.argv.index("--out") + 1])
    with (folder / "begun").open("a") as begun:
        begun.write(f"{part}\n")
    if part == "silent":
        sys.exit("ModuleNotFoundError: nothing is installed")
    verdicts = [{"about": f"{part} holds", "good": part != "bad", "found": "1 | 2", "bound": "3"}]
    numbers = {"one": {"a": 1.0, "b": None}, "two": {"a": 2.0, "b": 3.0}, "lone": [1, "x"]}
    write(part, folder, small, verdicts=verdicts, numbers=numbers)
    if part == "raises":
        raise RuntimeError("out of luck")
    if part == "hangs":
        time.sleep(600)
    if part == "killed":
        os.kill(os.getpid(), 9)
    write(part, folder, small, verdicts=verdicts, numbers=numbers, state="done")


if __name__ == "__main__":
    main()
