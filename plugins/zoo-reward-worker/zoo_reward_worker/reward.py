"""The interface of a reward in an environment of its own: NumPy images in, NumPy numbers out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Union

import numpy as np


@dataclass(frozen=True)
class Prompt:
    """What an image is asked to show; `metadata` holds what JSON can hold."""

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """A number for each image, with further ones that are recorded beside it by name."""

    value: np.ndarray
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownAnswer:
    """Images whose scores are known, to see that the reward works where it was installed.

    `images` are uint8 [batch, height, width, 3], `scores` [batch]; `tolerance` is absolute.
    """

    images: np.ndarray
    prompts: Sequence[Prompt]
    scores: np.ndarray
    tolerance: float


class Reward(ABC):
    """Scores images, higher is better; NaN says that one could not be scored.

    An image's score depends on that image and its prompt alone, unless `groupwise`. A constructor
    takes the device's name ("cpu", "cuda:1") as its only positional argument, or nothing; its
    keyword-only arguments are the recipe's options:
    `def __init__(self, device, /, *, option: float = 1.0)`.
    """

    groupwise: ClassVar[bool] = False
    """True: called once for each whole prompt group, all its images together."""

    takes: ClassVar[str] = "images"
    """What it is given: "images", "videos" or "both"."""

    @abstractmethod
    def score(self, images: np.ndarray, prompts: Sequence[Prompt]) -> Union[np.ndarray, Scores]:
        """A score for each image: `images` is uint8 [batch, height, width, 3].

        Of videos it is [batch, frames, height, width, 3].
        """

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Images with the scores that they must get; none by default."""
        return ()
