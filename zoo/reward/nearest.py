"""An image's distance to the nearest of its group, by the features of a network: for GARDO.

He et al. 2025 (arXiv 2512.24138): 1 less the largest cosine to another image of the group. They
take the features of DINOv3-L; here they are those of any reward that has features, such as CLIP's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from zoo.advantage import nearest_distance
from zoo.prompt import Prompt
from zoo.reward.base import Images, NetworkBytes, PerImage, Reward


class Nearest(Reward):
    """1 less the cosine of an image's features to those of the image of its group most like it.

    In [0, 2]; a group of one image has none and scores NaN. For `advantage.diversity`, with weight
    0; with another it is a reward of its own.
    """

    groupwise = True

    def __init__(self, *, by: Reward) -> None:
        """`by` is the reward whose network looks at the images, such as {name: clipscore}.

        Raises:
            ValueError: it has no features.
        """
        if type(by).features is Reward.features:
            raise ValueError(
                f"by is a {type(by).__name__}, which has no features of images; write "
                "by: {name: clipscore}, or another reward on CLIP"
            )
        self._by = by

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """One group's images, all together."""
        group = torch.zeros(len(images), dtype=torch.long, device=images.device)
        return nearest_distance(self._by.features(images), group)

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes | None:
        """Those of `by`."""
        by = options["by"]
        found: NetworkBytes | None = by.cls.network_bytes(by.options)
        return found

    def rest(self) -> None:
        """So does what looks at the images."""
        self._by.rest()
