"""Motion: how much moves in a video, so that a still image is not the best one."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Gt, Le

from zoo.prompt import Prompt
from zoo.reward.base import KnownAnswer, Reward, Scores, Videos
from zoo.reward.blocks import match_blocks


class Motion(Reward):
    """How far the blocks of a video move from frame to frame, by block matching, up to a limit.

    In [0, 1]: the mean distance, in parts of the frame's longer side, over `enough`, and 1 above
    that. Noise, flicker and fades move nothing. Beside `smoothness` it keeps videos from becoming
    still images; the metric `pixels` is the mean distance at the video's own size.
    """

    takes = "videos"
    least_frames = 2

    def __init__(self, *, enough: Annotated[float, Gt(0), Le(0.05)] = 0.01) -> None:
        """`enough` is the mean distance from frame to frame that scores 1.

        In parts of the longer side: 0.01 are 8 pixels of 832. Blocks that move by more than 0.05
        are not followed.
        """
        self._enough = enough

    def score(self, images: Videos, prompts: Sequence[Prompt]) -> Scores:
        """NaN for a video of one frame."""
        distance = torch.stack([match_blocks(video).distance.mean() for video in images])
        longer = max(images.shape[-2:])
        return Scores((distance / self._enough).clamp(max=1), {"pixels": distance * longer})

    def known_answers(self) -> Sequence[KnownAnswer]:
        """A texture that stands still, and one that goes around by 2 pixels of 128 a frame."""
        texture = torch.arange(128.0).mul(0.3).sin().add(1).div(2).expand(3, 128, 128)
        textures = texture * texture.mT
        videos = torch.stack(
            [torch.stack([textures.roll(i * by, dims=-1) for i in range(3)]) for by in (0, 1)]
        )
        return [KnownAnswer(videos, [Prompt("")] * 2, torch.tensor([0.0, 0.78125]), 0.05)]
