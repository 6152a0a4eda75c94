"""A reward in one file: the contrast of an image."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Gt
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import Reward


class Contrast(Reward):
    """The standard deviation of an image's pixels."""

    def __init__(self, *, scale: Annotated[float, Gt(0)] = 1.0) -> None:
        """`scale` multiplies it."""
        self._scale = scale

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """One number an image."""
        return self._scale * images.flatten(1).std(1)
