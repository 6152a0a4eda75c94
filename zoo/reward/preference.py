"""The preference that a data set records of an image, as a reward: for offline data."""

from collections.abc import Sequence

import torch

from zoo.prompt import Prompt, PromptError
from zoo.reward.base import ImagesOrVideos, PerImage, Reward


class Preference(Reward):
    """What the data says of an image: 1 for the preferred one of a pair and 0 for the other, say.

    For the sampler `dataset`. Prompts need a "preference" in their metadata: a number for each of
    their images, higher is better, as sources of preference pairs have it. Pixels are not looked
    at.
    """

    reads_pixels = False
    takes = "both"
    has_networks = False

    def score(self, images: ImagesOrVideos, prompts: Sequence[Prompt]) -> PerImage:
        """The number of each image."""
        return torch.tensor(
            [_read(prompt) for prompt in prompts], dtype=torch.float32, device=images.device
        )


def _read(prompt: Prompt) -> float:
    number = prompt.metadata.get("preference")
    if isinstance(number, int | float) and not isinstance(number, bool):
        return float(number)
    problem = (
        f"is {number!r}, not one number" if "preference" in prompt.metadata else "is not there"
    )
    raise PromptError(
        f"the prompt {prompt.text!r}: the reward 'preference' reads what the data says of each "
        f'image, and "preference" {problem}; use sampler: {{name: dataset}} with preference pairs'
    )
