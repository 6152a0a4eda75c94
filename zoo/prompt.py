"""What an image is asked to show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class PromptError(ValueError):
    """A prompt that a policy or a reward cannot use, or a source of prompts that cannot be read."""


@dataclass(frozen=True)
class Prompt:
    """A text, with whatever a reward needs to know about it.

    `metadata` is read by rewards alone (a digit, a list of required objects, a preference) and
    holds only what JSON can hold. `images` are files that belong to the prompt: a preference
    pair, say.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[Path, ...] = ()
