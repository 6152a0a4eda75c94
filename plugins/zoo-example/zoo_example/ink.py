"""A reward in ten lines: how bright an image is."""

from collections.abc import Sequence

from zoo.prompt import Prompt
from zoo.reward.base import Images, PerImage, Reward


class Ink(Reward):
    """The mean brightness of an image, in [0, 1]; a negative weight asks for thin strokes."""

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """One number an image."""
        return images.flatten(1).mean(1)
