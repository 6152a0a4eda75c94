"""What isolation costs: milliseconds an image, a reward in another process against in this one.

The reward is as cheap as one can be (the mean brightness), so that what is timed is the rest:
rounding to 8 bits, the message, the socket, and back. Calls alternate; medians of several.

    python benchmarks/isolation.py [--batch 16] [--size 512] [--repeats 15]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import Reward
from zoo.reward.outside.isolated import IsolatedReward

CPU = torch.device("cpu")


class Brightness(Reward):
    """The mean brightness of an image: as `ink` of zoo-example, which the worker runs."""

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """One number an image."""
        return images.flatten(1).mean(1)


def main() -> None:
    """Prints the medians and their difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16, help="images in a call")
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    images = torch.rand(given.batch, 3, given.size, given.size)
    prompts = [Prompt("a prompt of usual length, with a few words in it")] * given.batch
    direct = Brightness()
    isolated = IsolatedReward(
        CPU, python=sys.executable, name="ink", options={}, start_timeout=300.0
    )
    times: dict[str, list[float]] = {"in this process": [], "isolated": []}
    for _ in range(given.repeats):
        for name, reward in (("in this process", direct), ("isolated", isolated)):
            times[name].append(_seconds(lambda: reward.score(images, prompts)))  # noqa: B023
    medians = {name: 1e3 * statistics.median(each) / given.batch for name, each in times.items()}
    for name, median in medians.items():
        print(f"{name:16} {median:6.2f} ms an image")
    print(f"{'overhead':16} {medians['isolated'] - medians['in this process']:6.2f} ms an image")


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
