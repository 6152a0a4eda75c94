"""Saturation: how colourful images are, a matter of taste that is easily overdone."""

from collections.abc import Sequence

import torch

from zoo.prompt import Prompt
from zoo.reward.base import Images, KnownAnswer, PerImage, Reward


class Saturation(Reward):
    """The mean over pixels of the difference between the largest and the smallest channel.

    0 for grey images, 1 for pure colours alone; whatever the prompt. For the study of mixed rewards
    and of their cheating.
    """

    has_networks = False

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """In [0, 1], for images in [0, 1]."""
        spread = images.float().amax(dim=1) - images.float().amin(dim=1)
        return spread.flatten(1).mean(dim=1)

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Grey, half red, and red."""
        images = torch.zeros(3, 3, 4, 4)
        images[0] = 0.5
        images[1, 0, :2] = images[2, 0] = 1.0
        return [KnownAnswer(images, [Prompt("")] * 3, torch.tensor([0.0, 0.5, 1.0]), 1e-6)]
