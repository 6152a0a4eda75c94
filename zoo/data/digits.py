"""The embedded task: scikit-learn's 1797 handwritten digits, 8 x 8 pixels, with captions.

The digits are cut in two halves, so that a reward and the judge that checks it never learn from the
same images. Source: Alpaydin and Kaynak 1998, UCI optical recognition of handwritten digits (test
set), as scikit-learn ships it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from zoo.prompt import Prompt, PromptError

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


def wanted(prompts: Sequence[Prompt]) -> list[int]:
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
