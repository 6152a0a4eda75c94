"""Offline data: the images that come with the prompts, in place of images that are made.

A group is a prompt with its stored images, a preference pair, say: offline Diffusion-DPO (Wallace
et al. 2023, arXiv 2311.12908) is the objective `dpo` on these with the reward `preference`.
"""

from typing import Annotated

import torch
from annotated_types import Ge

from zoo.data.images import pixels
from zoo.policy.base import Policy
from zoo.prompt import PromptError
from zoo.rollout import Cond, Path
from zoo.sampler.base import Grid, Prompts, Sampler
from zoo.seeds import Draws


class Dataset(Sampler):
    """The images that come with the prompts, encoded by the policy: offline data, such as pairs.

    Each prompt has as many images as data.group_size says (a preference pair: 2). They are resized
    to the policy's resolution and cut to their centre. Nothing is sampled, so collecting takes no
    forward of the network; with `eval`, evaluation makes images as in any run.
    """

    needs_images = True

    def __init__(self, *, steps: Annotated[int, Ge(1)] | None = None) -> None:
        """`steps` of the policy's grid, for objectives that train at a sampler's times (`nft`)."""
        self.steps = steps
        self._size: tuple[Policy, int, int] | None = None

    def grid(self, policy: Policy) -> Grid | None:
        """The policy's grid of `steps` steps; without these none."""
        return None if self.steps is None else policy.grid(self.steps)

    def sample(
        self, policy: Policy, prompts: Prompts, cond: Cond, draws: Draws, *, keep_path: bool
    ) -> Path:
        """The latents of each prompt's image.

        Raises:
            PromptError: a prompt has not one image, or it cannot be read.
            ValueError: the policy makes videos.
        """
        height, width = self._resolution(policy, draws.device)
        for prompt in prompts:
            if len(prompt.images) != 1:
                raise PromptError(
                    f"the prompt {prompt.text!r} has {len(prompt.images) or 'no'} images where the "
                    "sampler 'dataset' takes one; name a source of prompts with images, or another "
                    "sampler"
                )
        images = torch.stack([pixels(prompt.images[0], height, width) for prompt in prompts])
        return Path(policy.latents(images.to(draws.device)), 0)

    def _resolution(self, policy: Policy, device: torch.device | str) -> tuple[int, int]:
        """The height and width of the policy's images, found by decoding one once."""
        if self._size is None or self._size[0] is not policy:
            shape = policy.decode(torch.zeros(1, *policy.latent_shape, device=device)).shape
            if len(shape) != 4:
                raise ValueError(
                    "the sampler 'dataset' has still images, and the policy makes videos; use "
                    "sampler: {name: flow, ...}"
                )
            self._size = (policy, shape[2], shape[3])
        return self._size[1:]
