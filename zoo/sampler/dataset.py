"""Offline data: the images that come with the prompts, in place of images that are made.

A group is a prompt with its stored images, a preference pair, say: offline Diffusion-DPO (Wallace
et al. 2023, arXiv 2311.12908) is the objective `dpo` on these with the reward `preference`.
"""

from typing import Annotated

from annotated_types import Ge

from zoo.policy.base import Policy
from zoo.sampler.base import Grid, StoredImages


class Dataset(StoredImages):
    """The images that come with the prompts, encoded by the policy: offline data, such as pairs.

    Each prompt has as many images as data.group_size says (a preference pair: 2). They are resized
    to the policy's resolution and cut to their centre. Nothing is sampled, so collecting takes no
    forward of the network; with `eval`, evaluation makes images as in any run. Rewards that read
    pixels get the images as the policy decodes them.
    """

    def __init__(
        self, *, steps: Annotated[int, Ge(1)] | None = None, cache_gb: Annotated[float, Ge(0)] = 2.0
    ) -> None:
        """`steps` of the policy's grid, for objectives that train at a sampler's times (`nft`).

        An image is encoded once while it stays among those used last, of which each process keeps
        `cache_gb` GB in the host's memory: 7,300 of SD3's at 512 pixels in 2 GB.
        """
        self.steps = steps
        self.cache_gb = cache_gb

    def grid(self, policy: Policy) -> Grid | None:
        """The policy's grid of `steps` steps; without these none."""
        return None if self.steps is None else policy.grid(self.steps)
