"""PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, eq. 7), as a loss."""

import torch

from zoo.objective.base import Loss
from zoo.sampler.base import PerRow


def clipped_loss(ratio: PerRow, advantage: PerRow, *, clip: float) -> PerRow:
    """max(-a ratio, -a clip(ratio, 1 - clip, 1 + clip)), of the advantages as they are."""
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))


def recorded(per_row: PerRow, ratio: PerRow, *, clip: float) -> Loss:
    """The loss, with the ratio and whether it is outside the clip, by row."""
    clip_fraction = ((ratio - 1).abs() > clip).float()
    return Loss(per_row, {"ratio": ratio, "clip_fraction": clip_fraction})
