"""What both rewards of the task `scenes` share: prompts, sizes, and GenEval's scoring."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.data.scenes.layout import Asked, place
from zoo.data.scenes.prompts import COLORS, SHAPES, held_out
from zoo.data.scenes.shapes import SIZE, render
from zoo.errors import suggest
from zoo.prompt import Prompt
from zoo.reward.base import Images, KnownAnswer, Reward, Scores
from zoo.reward.geneval.scores import Grading
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

    def __init__(self, grading: Grading) -> None:
        """`grading` is made of the options that the reward `geneval` has too."""
        self._grading = grading

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
    def score(self, images: Images, prompts: Sequence[Prompt]) -> Scores:
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


def require_size(images: Images) -> None:
    """Refuses images of another size.

    Raises:
        ValueError: they are not of 32 x 32 pixels.
    """
    if images.shape[-2:] != (SIZE, SIZE):
        raise ValueError(
            f"the scenes task takes images of {SIZE} x {SIZE} pixels, not {images.shape[-2]} x "
            f"{images.shape[-1]}; resize stored ones, and use its rewards with the scenes policy"
        )
