"""Small videos, for tests of rewards that look at them."""

import numpy as np
import torch
from torch import Tensor

from zoo.testing.inputs import some_images


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A texture [3, height, width] in [0, 1], no two neighbours alike."""
    return np.random.RandomState(seed).rand(3, height, width)


def window(texture: np.ndarray, height: int, width: int, places) -> Tensor:
    """A video: a window of this size over a texture, its corner at each of the places in turn."""
    frames = [texture[:, y : y + height, x : x + width] for y, x in places]
    return torch.from_numpy(np.stack(frames)).float()


def sliding(num: int) -> Tensor:
    """Images that slide to the right, in three frames."""
    stills = some_images(num, 24)
    return torch.stack([stills.roll(i, dims=-1) for i in range(3)], dim=1)
