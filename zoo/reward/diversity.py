"""Diversity: how far an image is from the others made for the same prompt."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import NetworkBytes, Reward


class Diversity(Reward):
    """The root-mean-square pixel distance of an image to the others of its group, on average.

    In [0, 1], whatever the resolution; a group of one image has none and scores NaN. Meant for
    evaluation, to see what a reward costs, and usable as a reward.
    """

    groupwise = True
    takes = "both"

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes:
        """None."""
        return NetworkBytes(0)

    def score(
        self, images: Float[Tensor, "batch *frames 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """One group's images, all together."""
        pixels = images.flatten(1).double()
        if len(pixels) == 1:
            return torch.full((1,), torch.nan, dtype=torch.float64)
        distance = torch.cdist(pixels, pixels, compute_mode="donot_use_mm_for_euclid_dist")
        return distance.sum(1) / (len(pixels) - 1) / math.sqrt(pixels.shape[1])
