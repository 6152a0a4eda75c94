"""Diversity: how far an image is from the others made for the same prompt."""

import math
from collections.abc import Sequence

import torch

from zoo.prompt import Prompt
from zoo.reward.base import ImagesOrVideos, PerImage, Reward


class Diversity(Reward):
    """The root-mean-square pixel distance of an image to the others of its group, on average.

    In [0, 1], whatever the resolution; a group of one image has none and scores NaN. Meant for
    evaluation, to see what a reward costs, and usable as a reward.
    """

    groupwise = True
    takes = "both"
    has_networks = False

    def score(self, images: ImagesOrVideos, prompts: Sequence[Prompt]) -> PerImage:
        """One group's images, all together."""
        pixels = images.flatten(1).double()
        if len(pixels) == 1:
            return torch.full((1,), torch.nan, dtype=torch.float64)
        distance = torch.cdist(pixels, pixels, compute_mode="donot_use_mm_for_euclid_dist")
        return distance.sum(1) / (len(pixels) - 1) / math.sqrt(pixels.shape[1])
