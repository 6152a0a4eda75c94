"""The one error of recipes, the places that it names, and how values are shown in it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from zoo.errors import UserError

Loc = tuple[str | int, ...]
"""Keys and indices from the top of a recipe down: ('rewards', 0, 'weight')."""


class RecipeError(UserError):
    """A mistake in a recipe or an override. `lines` has a line for each mistake."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Origins:
    """Where each part of a recipe was written; two recipes are equal wherever they were written."""

    source: str = field(default="recipe", compare=False)
    places: Mapping[Loc, str] = field(default_factory=dict, compare=False)

    def at(self, loc: Loc) -> str:
        """`recipes/x.yaml:14` or `-s a.b=c` of the part, or of the nearest one around it."""
        for end in range(len(loc), -1, -1):
            if loc[:end] in self.places:
                return self.places[loc[:end]]
        return self.source


def dotted(loc: Loc) -> str:
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
