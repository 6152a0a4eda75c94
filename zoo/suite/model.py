"""What a suite's file says, and the contenders that it comes to."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from pydantic import AfterValidator, Field, model_validator

from zoo.recipe.component import Strict
from zoo.recipe.model import Count, Recipe, Seconds, Target, Text, folder_name


class Budget(Strict):
    """What each run may spend: one of these. Seconds are of collecting and learning alone."""

    seconds: Seconds | None = None
    forwards: Count | None = None
    images: Count | None = None
    epochs: Count | None = None

    @model_validator(mode="after")
    def _one(self) -> "Budget":
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("a budget is one of seconds, forwards, images and epochs")
        return self

    @property
    def unit(self) -> str:
        """The one that it is in."""
        return next(iter(self.model_dump(exclude_none=True)))

    @property
    def amount(self) -> float:
        """How much of it."""
        return float(getattr(self, self.unit))


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is there twice, and would be the same run again")
    return seeds


Name = Annotated[str, AfterValidator(folder_name)]
Seeds = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), AfterValidator(_different)]
Parts = dict[str, Any]
"""A part of a recipe, validated where it is merged."""


class Suite(Strict):
    """The file of a suite; the paths in it are relative to it."""

    name: Name
    about: str = ""
    recipe: Text
    seeds: Seeds
    budget: Budget
    targets: tuple[Target, ...] = ()
    common: Parts = Field(default_factory=dict)
    contenders: Annotated[dict[Name, Parts | None], MinLen(1)]


@dataclass(frozen=True)
class Entry:
    """A contender with one of the seeds, as a recipe that `zoo train` can run."""

    contender: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Unique in its suite."""
        return f"{self.contender}_{self.seed}"


@dataclass(frozen=True)
class Loaded:
    """A suite whose contenders have been validated; entries go by seed, then by contender."""

    suite: Suite
    entries: tuple[Entry, ...]
