"""The scores of images whose objects were found: one to train on, and accuracies by tag."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from zoo.reward.base import PerImage, Scores
from zoo.reward.geneval.scoring import FoundObjects, accuracy, strict_accuracy, training_score
from zoo.reward.geneval.wanted import TAGS, Wanted

Score = Literal["training", "accuracy", "strict"]
_VALUES = {"training": "training_score", "accuracy": "accuracy", "strict": "strict_accuracy"}
_EXTRAS = tuple(
    f"{kind}{tag}"
    for kind in ("accuracy", "strict_accuracy")
    for tag in ("", *(f"/{tag}" for tag in TAGS))
)


@dataclass(frozen=True)
class Grading:
    """How found objects are scored: which score is the value, and the terms of `training_score`."""

    score: Score
    position_threshold: float
    clamp: bool
    partial_position: bool

    def scores(
        self,
        asked: Sequence[Wanted],
        found: Sequence[FoundObjects],
        finite: Bool[Tensor, " batch"],
    ) -> Scores:
        """A score for each image, on the device of `finite`; NaN where that is false.

        Extras are both accuracies, of all images and by tag: NaN for images of another tag.
        """
        rows = [self._grade(*each) for each in zip(asked, found, strict=True)]

        def column(name: str) -> PerImage:
            numbers = [row.get(name, torch.nan) for row in rows]
            column = torch.tensor(numbers, dtype=torch.float32, device=finite.device)
            return column.where(finite, torch.nan)

        return Scores(column(_VALUES[self.score]), {name: column(name) for name in _EXTRAS})

    def _grade(self, asked: Wanted, found: FoundObjects) -> dict[str, float]:
        """One image's numbers, by name; of the tags its own alone."""
        threshold = self.position_threshold
        right = float(accuracy(asked, found, position_threshold=threshold))
        strict = float(strict_accuracy(asked, found, position_threshold=threshold))
        return {
            "training_score": training_score(
                asked, found, position_threshold=threshold,
                clamp=self.clamp, partial_position=self.partial_position,
            ),
            "accuracy": right,
            f"accuracy/{asked.tag}": right,
            "strict_accuracy": strict,
            f"strict_accuracy/{asked.tag}": strict,
        }  # fmt: skip
