"""What both rewards of the task `scenes` share: prompts, options, and GenEval's scoring."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from zoo.data.scenes.layout import Asked, place
from zoo.data.scenes.prompts import COLORS, SHAPES, held_out
from zoo.data.scenes.shapes import SIZE, render
from zoo.errors import suggest
from zoo.prompt import Prompt
from zoo.reward.base import KnownAnswer, Reward, Scores
from zoo.reward.geneval.scores import Grading, Score
from zoo.reward.geneval.scoring import FoundObjects
from zoo.reward.geneval.wanted import Vocabulary, read_wanted
from zoo.seeds import Draws


def _shape(name: str) -> str:
    if name not in SHAPES:
        raise ValueError(f"unknown shape {name!r}{suggest(name, SHAPES, 'allowed')}")
    return name


VOCABULARY = Vocabulary(
    "scenes", "builtin:scenes/train", _shape, "the six shapes", COLORS, example="star"
)


class SceneReward(Reward):
    """What GenEval's scoring gives for the objects that `find` finds."""

    def __init__(
        self,
        *,
        score: Score = "training",
        clamp: bool = False,
        partial_position: bool = True,
        position_threshold: Annotated[float, Ge(0)] = 0.1,
    ) -> None:
        """As the options of the reward `geneval` of the same names, with the same defaults.

        `score` is `training`, the mean over requirements of 1 - abs(wanted - found) / wanted with
        terms for colours and positions, at most 1 and unbounded below unless `clamp`; or `accuracy`
        or `strict`, the same with exact counts, 0 or 1. `partial_position` gives half of a
        position's credit for a wrong one. `position_threshold` is the share of the objects' sizes
        that an offset must exceed.
        """
        self._grading = Grading(score, position_threshold, clamp, partial_position)

    @abstractmethod
    def find(self, images: Float[Tensor, "batch 3 32 32"]) -> list[FoundObjects]:
        """The objects of each image, finite and in [0, 1], by shape; the surest first."""

    @classmethod
    def check_prompt(cls, prompt: Prompt, options: Mapping[str, Any]) -> None:
        """Reads GenEval's metadata.

        Raises:
            PromptError: what is missing or wrong.
        """
        read_wanted(prompt, VOCABULARY)

    @torch.no_grad()
    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Scores:
        """The score of each image; NaN for one with a value that is not finite.

        Raises:
            PromptError: a prompt's metadata is not GenEval's.
            ValueError: the images are not of 32 x 32 pixels.
        """
        require_size(images)
        asked = [read_wanted(prompt, VOCABULARY) for prompt in prompts]
        finite = images.flatten(1).isfinite().all(1)
        found = self.find(images.nan_to_num(0.0, 0.0, 0.0).float().clamp(0.0, 1.0))
        return self._grading.scores(asked, found, finite)

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Scenes that are as asked for, of the kinds that no option of the score changes."""
        prompts = held_out(num=12, tags="single_object,two_object,counting,colors,color_attr")
        draws = Draws(0, "known scenes", 0, torch.arange(len(prompts)))
        images = render(place(Asked.of(prompts), draws))
        return [KnownAnswer(images, prompts, torch.ones(len(prompts)), tolerance=0.0)]


def require_size(images: Float[Tensor, "batch 3 height width"]) -> None:
    """Refuses images of another size.

    Raises:
        ValueError: they are not of 32 x 32 pixels.
    """
    if images.shape[-2:] != (SIZE, SIZE):
        raise ValueError(
            f"the scenes task takes images of {SIZE} x {SIZE} pixels, not {images.shape[-2]} x "
            f"{images.shape[-1]}; resize stored ones, and use its rewards with the scenes policy"
        )
