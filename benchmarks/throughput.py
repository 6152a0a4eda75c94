"""Where an epoch's time goes: the share of network calls, and images and forwards a second.

    python benchmarks/throughput.py [RECIPE ...] [--epochs N]

Each recipe's epochs run as `zoo train` runs them, with the network's calls timed from outside.
"network" is forwards alone; backward passes and the optimizer are in "other", with decoding,
rewards and the loop. Medians over epochs, the first left out.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from zoo.build import Run, build
from zoo.recipe.recipe import load_recipe
from zoo.run_state import Progress
from zoo.tracking import Silent
from zoo.train import train

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = [FOLDER / f"{name}_digits.yaml" for name in ("nft", "flow_grpo", "dpo")]


class Recorder(Silent):
    """Keeps every epoch's numbers and the network's seconds at that point."""

    def __init__(self, run_dir: Path, clock: list[float]) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.epochs: list[dict[str, float]] = []
        self._clock = clock

    def record(self, metrics: Mapping[str, float]) -> None:
        """One epoch."""
        self.epochs.append({**metrics, "network": self._clock[0]})


def timed_network(run: Run, clock: list[float]) -> None:
    """Adds up the seconds of every forward of the network."""
    network = run.policy.weights.network

    def forward(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        out = network(*args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        clock[0] += time.perf_counter() - started
        return out

    run.policy.weights.attach(forward)


def main() -> None:
    """Prints a line a recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", type=Path, nargs="*", default=RECIPES)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    print(f"{'recipe':20} {'images/s':>9} {'forwards/s':>11} {'network':>8} {'other':>8}")
    for path in arguments.recipes:
        recipe = load_recipe(path, ["eval=null"], arguments.epochs)
        clock = [0.0]
        run = build(recipe)
        timed_network(run, clock)
        with tempfile.TemporaryDirectory() as folder:
            recorder = Recorder(Path(folder), clock)
            train(run, Progress(), lambda recorder=recorder: recorder)
        report(recipe.name, recorder.epochs[1:])


def report(name: str, epochs: list[dict[str, float]]) -> None:
    """Medians of what each epoch added."""
    pairs = list(pairwise(epochs))
    seconds = [after["seconds"] - before["seconds"] for before, after in pairs]
    forwards = [after["num_evals"] - before["num_evals"] for before, after in pairs]
    network = [after["network"] - before["network"] for before, after in pairs]
    share = median(n / s for n, s in zip(network, seconds, strict=True))
    rate = median(f / s for f, s in zip(forwards, seconds, strict=True))
    images = median(epoch["images_per_second"] for epoch in epochs[1:])
    print(f"{name:20} {images:9.0f} {rate:11,.0f} {share:8.0%} {1 - share:8.0%}", flush=True)


if __name__ == "__main__":
    main()
