"""The one error of recipes, the origins that it names, and how values are shown in it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from zoo.errors import UserError, visible

Loc = tuple[str | int, ...]
"""Keys and indices from the top of a recipe down: ('rewards', 0, 'weight')."""


class RecipeError(UserError):
    """A mistake in a recipe or an override."""

    def __init__(self, *lines: str) -> None:
        self._lines = tuple(map(visible, lines))
        super().__init__("\n".join(self._lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """One for each mistake."""
        return self._lines


class RefusedOptionsError(RecipeError):
    """A constructor refused its options; `loc` is from the component that was to be built down."""

    def __init__(self, loc: Loc, text: str) -> None:
        """`text` names the component and says why."""
        super().__init__(text)
        self.loc = loc


@dataclass(frozen=True)
class Origin:
    """Where a part of a recipe was written; its text is what an error begins with."""

    on_command_line: ClassVar[bool]
    stage: int | None = field(default=None, kw_only=True)
    """Of the stage whose recipe it is a part of, which may have been written elsewhere."""

    def in_stage(self, index: int) -> "Origin":
        """The same, of a part of this stage's recipe."""
        return replace(self, stage=index)

    def _text(self, place: str) -> str:
        return place if self.stage is None else f"{place}: stages.{self.stage}"


@dataclass(frozen=True)
class FileOrigin(Origin):
    """A line of a file; without a line the whole of it, or of what else recipes are made from."""

    on_command_line = False
    file: str
    line: int | None = None

    def __str__(self) -> str:
        """`recipes/x.yaml:14`."""
        return self._text(self.file if self.line is None else f"{self.file}:{self.line}")


@dataclass(frozen=True)
class OptionOrigin(Origin):
    """An option of the command."""

    on_command_line = True
    option: str

    def __str__(self) -> str:
        """`-s a.b=c` or `--steps 10`."""
        return self._text(self.option)


@dataclass(frozen=True)
class Origins:
    """Where each part of a recipe was written; two recipes are equal wherever they were written."""

    source: str = field(default="recipe", compare=False)
    places: Mapping[Loc, Origin] = field(default_factory=dict, compare=False)

    def at(self, loc: Loc) -> Origin:
        """Of the part, or of the nearest one around it; else the source."""
        for end in range(len(loc), -1, -1):
            if loc[:end] in self.places:
                return self.places[loc[:end]]
        return FileOrigin(self.source)

    def on_command_line(self, loc: Loc) -> bool:
        """Whether an option of the command says this part itself, not only one around it."""
        return loc in self.places and self.places[loc].on_command_line


def dotted_path(loc: Loc) -> str:
    """A location as an override writes it: `rewards.0.weight`."""
    return ".".join(map(str, loc))


def shown(value: object, limit: int = 60) -> str:
    """A value from a recipe as YAML would have it, on one line and cut short."""
    if isinstance(value, float) and not math.isfinite(value):
        text = ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    elif isinstance(value, str):
        text = repr(value)
    else:
        text = json.dumps(value, default=str)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
