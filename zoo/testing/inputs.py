"""What components are tried on where a test class says nothing else."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo.data.digits import SIZE, prompts
from zoo.prompt import Prompt
from zoo.seeds import Draws


def some_prompts(num: int) -> list[Prompt]:
    """Prompts of the digits task, `{"digit": 0 to 9}` their metadata, again from the fifth on."""
    captions = prompts("train")[:5]
    return [captions[i % len(captions)] for i in range(num)]


def some_images(num: int, size: int = SIZE) -> Float[Tensor, "num 3 height width"]:
    """Square images in [0, 1], all different: noise and, every second one, soft patches of colour.

    Patches are what photographs have and noise has not: neighbours that are alike.
    """
    draws = Draws(0, "zoo.testing", 0, torch.arange(num))
    noise = draws.uniform((3, size, size))
    coarse = draws.at("patches").uniform((3, 3, 3))
    patches = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    odd = torch.arange(num).remainder(2).bool()
    return torch.where(odd[:, None, None, None], patches, noise)


def without_metadata(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The texts alone, as a plain list of prompts has them."""
    return [Prompt(prompt.text) for prompt in prompts]
