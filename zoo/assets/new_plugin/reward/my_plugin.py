"""A reward: a number for each image, higher is better."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Le

from zoo.prompt import Prompt
from zoo.reward.base import Images, PerImage, Reward


class MyPlugin(Reward):
    """Minus the distance of an image's mean brightness to `target`; in [-1, 0].

    A reward that compares the images of one prompt says `groupwise = True`; one that reads
    `prompt.metadata` raises zoo.prompt.PromptError where it lacks something.
    """

    def __init__(self, *, target: Annotated[float, Ge(0), Le(1)] = 0.2) -> None:
        """`target` is a brightness from 0, black, to 1."""
        # A reward with a model takes the device before the star: def __init__(self, device, /, *).
        self._target = target

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """For images [batch, 3, height, width] in [0, 1]; NaN would say: cannot be scored."""
        return -(images.flatten(1).mean(1) - self._target).abs()
