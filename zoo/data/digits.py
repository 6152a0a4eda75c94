"""scikit-learn's digits: what the embedded task and its preference pairs are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor

from zoo import seeds
from zoo.prompt import ImageBytes, Prompt, PromptError

SIZE = 8
"""Height and width of an image, in pixels."""

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

TRAIN_CAPTIONS = (
    "a photo of the digit {}",
    "the digit {}",
    "a handwritten {}",
    "a picture of the number {}",
)
EVAL_CAPTION = "a drawing of the digit {}"
CAPTIONS = (*TRAIN_CAPTIONS, EVAL_CAPTION)
"""Every template: pre-training sees them all, fine-tuning all but `EVAL_CAPTION`."""


@dataclass(frozen=True)
class Labelled:
    """Images, in [0, 1], and the digit that each shows."""

    images: Float[np.ndarray, "num_images 8 8"]
    digits: Int[np.ndarray, " num_images"]


@cache
def halves() -> tuple[Labelled, Labelled]:
    """The data set, shuffled and cut in two: the reward's 898 images and the judge's 899."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)
    # Of numpy's generators, the legacy one alone promises the same stream in every version.
    order = np.random.RandomState(0).permutation(len(images))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    return Labelled(images[first], bunch.target[first]), Labelled(
        images[second], bunch.target[second]
    )


def prompts(split: Literal["train", "eval"]) -> list[Prompt]:
    """The 40 training prompts, or the 10 evaluation prompts in a wording not trained on.

    Their metadata is {"digit": 7}, say.
    """
    captions = TRAIN_CAPTIONS if split == "train" else (EVAL_CAPTION,)
    return [
        Prompt(caption.format(word), {"digit": digit})
        for caption in captions
        for digit, word in enumerate(WORDS)
    ]


def digits_of(prompts: Sequence[Prompt]) -> list[int]:
    """The digit that each prompt's metadata asks for.

    Raises:
        PromptError: a prompt has no `digit` of 0 to 9 in its metadata.
    """
    for prompt in prompts:
        digit = prompt.metadata.get("digit")
        if type(digit) is not int or not 0 <= digit < len(WORDS):
            raise PromptError(
                f"the prompt {prompt.text!r} has metadata {dict(prompt.metadata)}; a digit reward "
                'needs {"digit": 0 to 9} in it, as the built-in digits prompts have'
            )
    return [prompt.metadata["digit"] for prompt in prompts]


def pairs(*, num: Annotated[int, Ge(1)] = 898) -> list[Prompt]:
    """All 898 pairs or the first: each digit of the half preferred once, over one of another class.

    Their metadata is {"digit": 7, "preference": [0, 1]}, say: the preferred one is as often first
    as second.
    """
    half, _ = halves()
    images = [_png(i, image) for i, image in enumerate(half.images)]
    order = seeds.order(len(images), seed=0, purpose="digit pairs").tolist()
    wanted = range(len(images))[:num]
    return [_pair(i, images, half.digits.tolist(), order) for i in wanted]


def captioned(*, num: Annotated[int, Ge(1)] = 447) -> list[Prompt]:
    """Captions with two images each of the same half, all 447 or the first: for fine-tuning.

    Both show the digit that the caption asks for; no image comes twice. Their metadata is
    {"digit": 7}, say.
    """
    half, _ = halves()
    waiting: dict[int, ImageBytes] = {}
    made: list[Prompt] = []
    for i, (image, digit) in enumerate(zip(half.images, half.digits.tolist(), strict=True)):
        png = _png(i, image)
        if digit not in waiting:
            waiting[digit] = png
            continue
        caption = TRAIN_CAPTIONS[len(made) % len(TRAIN_CAPTIONS)].format(WORDS[digit])
        made.append(Prompt(caption, {"digit": digit}, (waiting.pop(digit), png)))
    return made[:num]


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


def grey(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 8 8"]:
    """The mean of the channels, from [0, 1] to [-1, 1].

    Raises:
        ValueError: the images are not of 8 x 8 pixels.
    """
    if images.shape[-2:] != (SIZE, SIZE):
        raise ValueError(
            f"the digits task takes images of {SIZE} x {SIZE} pixels, not {images.shape[-2]} x "
            f"{images.shape[-1]}; resize stored ones, and use digit rewards with the digits policy"
        )
    return images.mean(dim=1, keepdim=True) * 2.0 - 1.0
