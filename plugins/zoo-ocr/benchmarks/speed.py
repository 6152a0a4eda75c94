"""Milliseconds an image at 512 px for some numbers of workers: `python benchmarks/speed.py 0 1 2`.

Each number is the median of three passes over 48 images with one to three lines of text, beside the
processor time of all processes, which other work on the machine changes less.
"""

import sys
from statistics import median
from time import perf_counter

import psutil
import torch
from zoo_ocr.known import picture
from zoo_ocr.reward import OCR

from zoo.prompt import Prompt

_TEXTS = (
    "Fresh Bread",
    "OPEN 24 HOURS",
    "Platform 9\nTrains to Oxford",
    "Dreams\nof\nElectric Sheep",
)
_PASSES = 3


def main() -> None:
    """Prints a line for each number of workers."""
    images = torch.stack([picture(text, size=(512, 512), letters=60) for text in _TEXTS * 12])
    prompts = [Prompt(f'"{" ".join(text.split())}"') for text in _TEXTS * 12]
    for workers in [int(word) for word in sys.argv[1:]]:
        reward = OCR(workers=workers)
        reward.score(images[:8], prompts[:8])
        seconds, before = [], _processor_seconds()
        for _ in range(_PASSES):
            start = perf_counter()
            scores = reward.score(images, prompts)
            seconds.append(perf_counter() - start)
        each = median(seconds) / len(images) * 1000
        spent = (_processor_seconds() - before) / len(images) / _PASSES * 1000
        sys.stdout.write(
            f"workers {workers}: {each:.1f} ms an image, {spent:.1f} ms of processor time, "
            f"mean score {float(scores.value.mean()):.3f}\n"
        )


def _processor_seconds() -> float:
    here = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in [here, *here.children()])


if __name__ == "__main__":
    main()
