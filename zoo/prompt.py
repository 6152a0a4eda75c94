"""What an image is asked to show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import UserError


class PromptError(UserError, ValueError):
    """A prompt that a policy or a reward cannot use, or a source of prompts that cannot be read."""


@dataclass(frozen=True)
class ImageFile:
    """An image in a file of its own."""

    path: Path

    def __str__(self) -> str:
        """As errors name it."""
        return str(self.path)


@dataclass(frozen=True)
class ImageCell:
    """An image in a parquet file, encoded: which column, and which row from 0."""

    path: Path
    column: str
    row: int

    def __str__(self) -> str:
        """As errors name it; rows count from 1, as in other errors of tables."""
        return f"{self.path}: row {self.row + 1}, column '{self.column}'"


@dataclass(frozen=True)
class ImageBytes:
    """An image in memory, encoded as PNG, say: for sets that are small or made on the spot."""

    name: str
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        """As errors name it."""
        return self.name


StoredImage = ImageFile | ImageCell | ImageBytes
"""Where an image is; what is in it is read when a run on stored images comes to it."""


@dataclass(frozen=True)
class Prompt:
    """A text, with whatever a reward needs to know about it.

    `metadata` is read by rewards alone (a digit, a list of required objects, a preference) and
    holds only what JSON can hold. `images` are results that are stored: a preference pair, say,
    whose "preference" in the metadata is a list with a number for each. `inputs` are what a model
    is given beside the text, to edit or to animate: `zoo.data.images` opens them. A model that
    takes text alone leaves them aside, as captions' own pictures.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[StoredImage, ...] = ()
    inputs: tuple[StoredImage, ...] = ()
    place: str = field(default="", compare=False, repr=False)
    """Where it is written, as errors say it: `prompts.txt:3`."""
    judged_by: frozenset[str] | None = field(default=None, repr=False)
    """The labels of the rewards that score its images; all do where its source names none."""

    def asks(self, label: str) -> bool:
        """Whether the reward of that label scores its images."""
        return self.judged_by is None or label in self.judged_by
