"""Preference pairs of handwritten digits: the one that the prompt asks for, and another.

Both are real, of the half of the data set that the judge of the digits task never learns from. They
are cut from scikit-learn's digits when they are asked for, so no copy of them ships with zoo.
"""

from collections.abc import Sequence
from io import BytesIO

import numpy as np

from zoo import seeds
from zoo.data.digits import TRAIN_CAPTIONS, WORDS, halves
from zoo.prompt import ImageBytes, Prompt


def prompts() -> list[Prompt]:
    """898 pairs, each digit of the half preferred once, over another of a random other class.

    Their metadata is {"digit": 7, "preference": [0, 1]}, say: the preferred one is as often first
    as second.
    """
    half, _ = halves()
    images = [_png(i, image) for i, image in enumerate(half.images)]
    order = seeds.order(len(images), seed=0, purpose="digit pairs").tolist()
    return [_pair(i, images, half.digits.tolist(), order) for i in range(len(images))]


def _pair(
    i: int, images: Sequence[ImageBytes], digits: Sequence[int], order: Sequence[int]
) -> Prompt:
    """Image `i` before the next one in a random order that shows another digit."""
    others = (order[(i + step) % len(order)] for step in range(len(order)))
    lost = next(other for other in others if digits[other] != digits[i])
    caption = TRAIN_CAPTIONS[i % len(TRAIN_CAPTIONS)].format(WORDS[digits[i]])
    first = i // len(TRAIN_CAPTIONS) % 2 == 0
    pair, preference = (images[i], images[lost]), [1, 0]
    return Prompt(
        caption,
        {"digit": digits[i], "preference": preference if first else preference[::-1]},
        pair if first else pair[::-1],
    )


def _png(i: int, image: np.ndarray) -> ImageBytes:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(buffer, format="PNG")
    return ImageBytes(f"digit {i}", buffer.getvalue())
