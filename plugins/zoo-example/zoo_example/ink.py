"""A reward in ten lines: how bright an image is."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import Reward


class Ink(Reward):
    """The mean brightness of an image, in [0, 1]; a negative weight asks for thin strokes."""

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """One number an image."""
        return images.flatten(1).mean(1)
