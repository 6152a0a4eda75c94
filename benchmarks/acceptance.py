"""The first quarter of an hour on a card: is it right, how fast, and in how much memory?

    python benchmarks/acceptance.py --out acceptance [--parts digits plain ...] [--minutes 12]
    python benchmarks/acceptance.py --out /tmp/tried --small --device cpu      # to try it anywhere

Every part runs in a process of its own with a time limit: one that fails or hangs costs itself, and
its message is written down. After each one OUT/acceptance.json has what all have come to, and
OUT/acceptance.md says what is good and what is not, each with its bound and the reason for it. The
same command goes on where it was: what is done is not done again, what failed is. No part begins
when the minutes are over.

The large model is Stable Diffusion 3.5 Medium at its full size with random weights, made on the
device (4.6 GB in OUT/model); nothing is fetched. With --small it is tiny, and numbers of speed say
nothing. The parts are in benchmarks/acceptance_parts/every.py.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.acceptance_parts.every import PARTS
from benchmarks.acceptance_parts.page import page
from benchmarks.acceptance_parts.part import Part, Result, file_of, read
from zoo.storage import files, json_data

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = "acceptance.json", "acceptance.md"
_PATIENCE = 5
"""Times a part's limit on a card, for what is small and tried on any machine."""


class Acceptance:
    """The results in a folder, and the parts that are run for them."""

    def __init__(
        self,
        folder: Path,
        options: Sequence[str],
        parts: Sequence[Part] = PARTS,
        module: str = "benchmarks.acceptance_parts",
    ) -> None:
        """`options` are those of a part's command, a `module`; reads what was done before."""
        self._folder, self._options, self._parts = folder, tuple(options), parts
        self._module = module
        folder.mkdir(parents=True, exist_ok=True)
        self.results: dict[str, Result] = {}
        if (folder / RESULTS).is_file():
            every = json_data.read(folder / RESULTS, TypeAdapter(list[Result]).validate_json)
            small = "--small" in options
            self.results = {one.part: one for one in every if one.small == small}

    def run(self, wanted: Sequence[str], minutes: float) -> None:
        """Runs the parts that are wanted and not done, in their order, while there is time."""
        ends = time.monotonic() + 60 * minutes
        for part in self._parts:
            left = ends - time.monotonic()
            if part.name not in wanted or self._is_done(part.name):
                continue
            if missing := [name for name in part.needs if not self._is_done(name)]:
                print(f"{part.name}: not run, for {', '.join(missing)} is not done", flush=True)
            elif left <= 0:
                print(f"{part.name}: not run, the {minutes:g} minutes are over", flush=True)
            else:
                patience = _PATIENCE if "--small" in self._options else 1
                self._keep(self._run(part, min(patience * part.seconds, left)))

    def _is_done(self, name: str) -> bool:
        return name in self.results and self.results[name].state == "done"

    def _run(self, part: Part, limit: float) -> Result:
        """In a process of its own."""
        log, file = self._folder / f"{part.name}.log", file_of(self._folder, part.name)
        file.unlink(missing_ok=True)
        started = time.monotonic()
        command = [sys.executable, "-m", self._module, part.name, *self._options,
                   "--out", str(self._folder)]  # fmt: skip
        with log.open("w", encoding="utf-8") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error",
                     "DIFFUSERS_VERBOSITY": "error"},
            )  # fmt: skip
            why = _wait(process, limit)
        seconds = time.monotonic() - started
        result = read(file) if file.is_file() else Result(
            part=part.name, small="--small" in self._options, where="it never began"
        )  # fmt: skip
        result.seconds = seconds
        if why is None and result.state != "done":
            ended = process.returncode
            why = f"killed by signal {-ended}" if ended < 0 else _last_line(log)
        if why is not None:
            result.state, result.message = "failed", f"{why} (all of it: {log})"
        file.unlink(missing_ok=True)
        return result

    def _keep(self, result: Result) -> None:
        self.results[result.part] = result
        known = [self.results[p.name] for p in self._parts if p.name in self.results]
        files.write(self._folder / RESULTS, [one.model_dump() for one in known])
        files.write_text(self._folder / PAGE, page(self._parts, self.results))
        bad = [one.about for one in result.verdicts if one.good is False]
        said = result.message if result.state == "failed" else f"{len(result.verdicts)} verdicts"
        print(f"{result.part}: {result.state} in {result.seconds:.0f} s, {said}", flush=True)
        for about in bad:
            print(f"  NOT good: {about}", flush=True)


def _wait(process: subprocess.Popen[bytes], limit: float) -> str | None:
    """Until it ends, at most so many seconds; why it did not end by itself, where it did not."""
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} s"
    finally:
        # All that it started: a process left behind would hold the card.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None


def _last_line(log: Path) -> str:
    lines = [
        line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line
    ]
    return lines[-1][:500] if lines else "it said nothing"


def main() -> None:
    """Runs the parts and says where the page is."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--small", action="store_true", help="tiny models, to try it")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    chosen = parser.parse_args()
    options = ["--device", chosen.device, *(["--small"] if chosen.small else [])]
    acceptance = Acceptance(chosen.out.resolve(), options)
    acceptance.run(chosen.parts, chosen.minutes)
    print(f"page: {chosen.out / PAGE}")
    good = all(
        one.state == "done" and all(verdict.good is not False for verdict in one.verdicts)
        for one in acceptance.results.values()
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
