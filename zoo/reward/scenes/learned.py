"""The reward `scenes`: by a network that was trained on rendered scenes, and can be deceived."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from zoo.reward.base import Features, Images, NetworkBytes
from zoo.reward.geneval.scores import Grading, Score
from zoo.reward.geneval.scoring import FoundObjects
from zoo.reward.networks.shipped import load_shipped, shipped_bytes
from zoo.reward.scenes.base import SceneReward, require_size
from zoo.reward.scenes.network import Detector, objects


class Scenes(SceneReward):
    """Whether an image of 32 x 32 pixels shows the shapes, counts, colours and places asked for.

    GenEval's scoring of what a small network finds; `scenes_judge` sees by other means, for
    evaluation. Prompts are those of builtin:scenes/train. Beside the score it records `accuracy`,
    the exact `strict_accuracy`, and both by tag: `accuracy/counting`, say.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        score: Score = "training",
        clamp: bool = False,
        partial_position: bool = True,
        position_threshold: Annotated[float, Ge(0)] = 0.1,
    ) -> None:
        """Loads the shipped network.

        `score` is `training`, the mean over requirements of 1 - abs(wanted - found) / wanted with
        terms for colours and positions, at most 1 and unbounded below unless `clamp`; or `accuracy`
        or `strict`, the same with exact counts, 0 or 1. `partial_position` gives half of a
        position's credit for a wrong one. `position_threshold` is the share of the objects' sizes
        that an offset must exceed.
        """
        super().__init__(Grading(score, position_threshold, clamp, partial_position))
        self._device = device
        self._detector = load_shipped(Detector, "scenes_detector.safetensors", device)

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes:
        """The network's."""
        return shipped_bytes(Detector)

    def find(self, images: Float[Tensor, "batch 3 32 32"]) -> list[FoundObjects]:
        """What the network sees."""
        return objects(self._detector(images.to(self._device)))

    @torch.no_grad()
    def features(self, images: Images) -> Features:
        """What the network's last layer reads, in each cell.

        Raises:
            ValueError: the images are not of 32 x 32 pixels.
        """
        require_size(images)
        seen: Tensor = self._detector.features(images.to(self._device) * 2.0 - 1.0)
        return seen.flatten(1).to(images.device)
