"""What more processes and ZeRO cost and bring: strong and weak scaling against one plain process.

    python benchmarks/scaling.py [RECIPE] --processes 1 2 4 8 --stages plain 1 2 3 [--weak]
    python benchmarks/scaling.py --read RUN_DIR RUN_DIR ...

Each layout is a `zoo train` of a few epochs. Strong scaling shares one epoch's groups among the
processes; `--weak` gives each process as many as the recipe's epoch has. "speedup" is images a
second against the first layout, "efficiency" that over the number of processes, "waiting" the share
of the time in which the average process stood still for others (communication that did not overlap
with computing, and slower processes), "memory" the most that the first process held. Medians over
epochs, the first left out, and over `--repeats`.

On several nodes start `zoo train` there as the README's "Many GPUs" says, once a layout, and give
the run folders to `--read`; the first is what the others are compared with.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from zoo.recipe.recipe import Recipe, load_recipe
from zoo.run import tracker as tracking

DIGITS = Path(__file__).parent.parent / "recipes" / "nft_digits.yaml"


@dataclass(frozen=True)
class Measured:
    """Medians over the epochs of a run."""

    name: str
    processes: int
    images_per_second: float
    waiting: float
    memory_gb: float


def measured(name: str, lines: Sequence[dict[str, Any]]) -> Measured:
    """From the lines of metrics.jsonl: the first two are from before training and warming up."""
    epochs = [line for line in lines if line["epoch"] > 1]
    if not epochs:
        raise SystemExit(f"{name}: a run needs at least 2 epochs to be measured")

    def middle(key: str) -> float:
        return median(line[key] for line in epochs)

    rate = middle("images_per_second")
    return Measured(
        name,
        round(rate / middle("images_per_second_each")),
        rate,
        middle("communication_share"),
        max(line["peak_memory_gb"] for line in epochs),
    )


def trained(arguments: argparse.Namespace, recipe: Recipe, processes: int, stage: str) -> Measured:
    """Runs one layout; the median of its repeats."""
    groups = recipe.data.groups_per_epoch * (processes if arguments.weak else 1)
    changes = {
        "engine.processes": processes,
        "engine.zero_stage": "null" if stage == "plain" else stage,
        "data.groups_per_epoch": groups,
        "eval": "null",
    }
    overrides = [*arguments.set, *(f"{key}={value}" for key, value in changes.items())]
    name = f"{stage}" if stage == "plain" else f"zero {stage}"
    runs = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "zoo", "train", str(arguments.recipe)]
            for override in [*overrides, f"output_dir={folder}"]:
                command += ["-s", override]
            command += ["--epochs", str(arguments.epochs)]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env={**os.environ}
            )
            if done.returncode:
                raise SystemExit(f"{name} on {processes} processes failed:\n{done.stderr}")
            (run,) = Path(folder).glob("*/*")
            runs.append(measured(name, tracking.read(run)))
    return sorted(runs, key=lambda run: run.images_per_second)[len(runs) // 2]


def print_header(what: str) -> None:
    """What follows, and the columns."""
    print(what)
    print(
        f"{'processes':>9} {'engine':10} {'images/s':>9} {'each':>9} {'speedup':>8} "
        f"{'efficiency':>10} {'waiting':>8} {'memory':>9}"
    )


def print_line(run: Measured, first: Measured) -> None:
    """One layout against the first."""
    speedup = run.images_per_second / first.images_per_second
    efficiency = speedup * first.processes / run.processes
    print(
        f"{run.processes:9} {run.name:10} {run.images_per_second:9.1f} "
        f"{run.images_per_second / run.processes:9.1f} {speedup:8.2f} {efficiency:10.0%} "
        f"{run.waiting:8.0%} {run.memory_gb:6.2f} GB",
        flush=True,
    )


def main() -> None:
    """Prints a line a layout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, nargs="?", default=DIGITS)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--stages", nargs="+", default=["plain", "0", "1", "2", "3"])
    parser.add_argument("--weak", action="store_true")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-s", "--set", action="append", default=[], help="as of zoo train")
    parser.add_argument("--read", type=Path, nargs="+", metavar="RUN_DIR")
    arguments = parser.parse_args()
    if arguments.read:
        found = [measured(path.parent.name, tracking.read(path)) for path in arguments.read]
        print_header("runs")
        for run in found:
            print_line(run, found[0])
        return
    recipe = load_recipe(arguments.recipe, arguments.set)
    print_header(f"{recipe.name}, {'weak' if arguments.weak else 'strong'} scaling")
    first = trained(arguments, recipe, 1, "plain")
    print_line(first, first)
    for processes in arguments.processes:
        for stage in arguments.stages:
            if (processes, stage) != (1, "plain"):
                print_line(trained(arguments, recipe, processes, stage), first)


if __name__ == "__main__":
    main()
