"""The reward `scenes_judge`: by geometry, without anything that was trained."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from zoo.data.scenes.prompts import COLORS, SHAPES
from zoo.reward.geneval.scores import Grading, Score
from zoo.reward.geneval.scoring import Found, FoundObjects
from zoo.reward.scenes.base import SceneReward
from zoo.reward.scenes.components import components
from zoo.reward.scenes.templates import matched


class ScenesJudge(SceneReward):
    """As `scenes`, by connected parts of one colour and how like rendered shapes they are.

    Never train on it: it judges what `scenes` was made to see. Its score is by default the exact
    accuracy, 1 or 0, and the extras are those of `scenes`.
    """

    has_networks = False

    def __init__(
        self,
        *,
        score: Score = "strict",
        clamp: bool = False,
        partial_position: bool = True,
        position_threshold: Annotated[float, Ge(0)] = 0.1,
        max_distance: Annotated[float, Ge(0)] = 0.04,
    ) -> None:
        """`score`, `clamp`, `partial_position` and `position_threshold` as the options of `scenes`.

        A part is an object where its mean squared distance from a rendered mask is at most
        `max_distance`.
        """
        super().__init__(Grading(score, position_threshold, clamp, partial_position))
        self._max_distance = max_distance

    def find(self, images: Float[Tensor, "batch 3 32 32"]) -> list[FoundObjects]:
        """The parts that have a shape, the clearest first."""
        found: list[dict[str, list[Found]]] = [{} for _ in range(len(images))]
        parts = list(components(images))
        if not parts:
            return list(found)
        shapes, distance = matched(torch.from_numpy(np.stack([part.covered for part in parts])))
        for i in distance.argsort(stable=True).tolist():
            if distance[i] <= self._max_distance:
                of_shape = found[parts[i].image].setdefault(SHAPES[int(shapes[i])], [])
                of_shape.append(Found(parts[i].box, COLORS[parts[i].color]))
        return list(found)
