"""Smoothness: how well each frame of a video follows from the one before."""

from collections.abc import Sequence

import torch

from zoo.prompt import Prompt
from zoo.reward.base import KnownAnswer, PerImage, Reward, Videos
from zoo.reward.blocks import match_blocks


class Smoothness(Reward):
    """How well the blocks of a frame are found in the frame before: flicker and jumps cost.

    1 less the mean absolute difference of neighbouring frames once their blocks have moved to where
    they fit best, in [0, 1]: as VBench's temporal flickering (Huang et al. 2023, arXiv 2311.17982),
    which moves no blocks and so takes movement for flicker. A still image scores 1: use it beside
    `motion`.
    """

    takes = "videos"
    least_frames = 2

    def score(self, images: Videos, prompts: Sequence[Prompt]) -> PerImage:
        """NaN for a video of one frame."""
        return torch.stack([1 - match_blocks(video).error.mean() for video in images])

    def known_answers(self) -> Sequence[KnownAnswer]:
        """A still image, and black and white in turn."""
        still = torch.full((3, 3, 16, 16), 0.25)
        flicker = torch.stack([torch.full((3, 16, 16), level) for level in (0.0, 1.0, 0.0)])
        videos = torch.stack([still, flicker])
        return [KnownAnswer(videos, [Prompt("")] * 2, torch.tensor([1.0, 0.0]), 1e-3)]
