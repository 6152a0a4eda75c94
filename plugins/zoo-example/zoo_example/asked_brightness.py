"""A reward that reads what a prompt knows besides its text."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.prompt import Prompt, PromptError
from zoo.reward.base import Images, PerImage, Reward


class AskedBrightness(Reward):
    """Minus the distance of an image's mean brightness to the one that its prompt asks for.

    In [-1, 0]. Prompts need {"brightness": 0 to 1} in their metadata: a line of a .jsonl file such
    as {"prompt": "the digit seven", "brightness": 0.2}.
    """

    @classmethod
    def check_prompt(cls, prompt: Prompt, options: Mapping[str, Any]) -> None:
        """Looks for the wanted brightness, before a run starts."""
        _brightness(prompt)

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """One number an image."""
        asked = images.new_tensor([_brightness(prompt) for prompt in prompts])
        return -(images.flatten(1).mean(1) - asked).abs()


def _brightness(prompt: Prompt) -> float:
    asked = prompt.metadata.get("brightness")
    if isinstance(asked, bool) or not isinstance(asked, (int, float)) or not 0 <= asked <= 1:
        raise PromptError(
            f"the prompt {prompt.text!r} has metadata {dict(prompt.metadata)}; the reward "
            'asked_brightness needs {"brightness": 0 to 1} in it'
        )
    return float(asked)
