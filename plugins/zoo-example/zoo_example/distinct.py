"""A reward that sees a whole group: how far an image is from the one most like it."""

from collections.abc import Sequence

import torch

from zoo.prompt import Prompt
from zoo.reward.base import Images, PerImage, Reward


class Distinct(Reward):
    """The mean absolute pixel difference, in [0, 1], to the nearest other image of the prompt.

    Asks a model not to draw the same image twice. An image alone has nothing to be compared with
    and scores NaN.
    """

    # Makes the run call `score` with all of a prompt's images, and with one prompt's alone.
    groupwise = True

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """One number an image."""
        pixels = images.flatten(1)
        if len(pixels) == 1:
            return pixels.new_full((1,), torch.nan)
        difference = torch.cdist(pixels, pixels, p=1) / pixels.shape[1]
        return difference.fill_diagonal_(torch.inf).min(dim=1).values
