"""A suite: what `zoo compare` compares, read from YAML and validated.

Each contender is a fragment of a recipe, merged over the suite's recipe, or over the one that it
`extends`, as `extends` merges; `common` is merged over all.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from pydantic import ConfigDict, Field

from zoo.errors import closest, suggest
from zoo.recipe.component import Strict
from zoo.recipe.data_section import Count, Text
from zoo.recipe.errors import (
    FileOrigin,
    Loc,
    OptionOrigin,
    Origin,
    Origins,
    RecipeError,
    dotted_path,
    shown,
)
from zoo.recipe.expand import expanded
from zoo.recipe.explain import validate
from zoo.recipe.load import Override, Overrides, Raw, from_yaml, merge_fragments, part, read
from zoo.recipe.recipe import Recipe, whole_recipe
from zoo.recipe.sections import FolderName, ScoreTarget, Seconds

_EXTENDS = "extends"
_SET_BY_THE_SUITE = ("name", "seed", "output_dir")


class Budget(Strict):
    """What each run may spend, exactly one of them: see `stop_when` of recipes."""

    seconds: Seconds | None = None
    forwards: Count | None = None
    images: Count | None = None
    epochs: Count | None = None

    @property
    def spent(self) -> Mapping[str, float]:
        """What is written, by its key."""
        return {key: most for key, most in self.model_dump().items() if most is not None}


class Suite(Strict):
    """Everything about a comparison; paths in it are relative to its file."""

    model_config = ConfigDict(title="suite")

    name: FolderName
    about: str = ""
    recipe: Text
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)]
    budget: Budget
    targets: tuple[ScoreTarget, ...] = ()
    common: dict[str, Any] = Field(default_factory=dict)
    contenders: Annotated[dict[FolderName, dict[str, Any]], MinLen(1)]


@dataclass(frozen=True)
class LoadedSuite:
    """A suite as it was read, with where each part was written."""

    suite: Suite
    raw: Raw

    def place(self, *loc: str | int) -> Origin:
        """`benchmarks/digits.yaml:14`, or the override."""
        return self.raw.origins.at(loc)

    def writes(self, contender: str, key: str) -> bool:
        """Whether the suite itself sets a key of the contender's recipe."""
        return key in self.suite.contenders[contender] or key in self.suite.common

    def refusal(self, contender: str, *lines: str) -> RecipeError:
        """What is wrong with a contender; each line has its place in front where it has none."""
        default = str(self.place("contenders", contender))
        placed = []
        for line in lines:
            place, text = self._split_place(line)
            placed.append(f"{place or default}: contender '{contender}': {text}")
        return RecipeError(*placed)

    def _split_place(self, line: str) -> tuple[str, str]:
        """The place in front of a line, if it has one, and the rest."""
        for origin in self.raw.origins.places.values():
            # An override may have colons of its own.
            if origin.on_command_line and line.startswith(f"{origin}: "):
                return str(origin), line.removeprefix(f"{origin}: ")
        match = re.match(r"(-s .*?|[^ ]+:\d+): (.*)$", line, re.DOTALL)
        return (match[1], match[2]) if match else ("", line)

    def recipe(self, contender: str, own: Overrides = (), *, tiny: bool = False) -> Recipe:
        """A contender's recipe with `own` applied to it last.

        Raises:
            RecipeError: what is wrong, a line each, with the place and the contender.
            BrokenPluginError: a component that it names cannot be loaded.
        """
        loc: Loc = ("contenders", contender)
        fragment = part(self.raw, loc)
        base: Loc = (*loc, _EXTENDS) if _EXTENDS in fragment.data else ("recipe",)
        fragments = [_without(fragment, _EXTENDS)]
        if self.suite.common:
            fragments.append(part(self.raw, ("common",)))
        try:
            return whole_recipe(merge_fragments(read(self._base(base)), fragments), own, tiny=tiny)
        except RecipeError as error:
            raise self.refusal(contender, *error.lines) from error

    def _base(self, loc: Loc) -> Path:
        written: Any = self.raw.data
        for key in loc:
            written = written[key]
        place = self.raw.origins.at(loc)
        if not isinstance(written, str):
            raise RecipeError(
                f"{place}: extends must be the path of a recipe, not {shown(written)}"
            )
        path = beside(place, expanded(written, place, str(loc[-1])))
        if not os.path.isfile(path):
            suite = os.path.realpath(self.raw.origins.source)
            others = [
                file for file in path.parent.glob("*.yaml") if os.path.realpath(file) != suite
            ]
            names = sorted(map(str, others))
            hint = closest(str(path), names) or "; check the path"
            raise RecipeError(f"{place}: {loc[-1]} is {path}, which is no file{hint}")
        return path


def beside(place: Origin, written: str) -> Path:
    """A path that is relative to the file of the place; on the command line, to where one is."""
    if not isinstance(place, FileOrigin):
        return Path(written)
    return Path(os.path.normpath(Path(place.file).parent / written))


def load_suite(path: str | Path, overrides: Overrides = ()) -> LoadedSuite:
    """The suite of a file with overrides (`seeds=[0]`, `contenders.nft.objective.beta=1.0`).

    Raises:
        RecipeError: what is wrong, a line each, with the place and the fix.
    """
    names = _names(read(path))
    raw = read(path, [_in_contender(override, names) for override in overrides])
    suite = validate(Suite, raw.data, raw.origins)
    mistakes = [f"{raw.origins.at(loc)}: {mistake}" for loc, mistake in _mistakes(suite)]
    if mistakes:
        raise RecipeError(*mistakes)
    return LoadedSuite(suite, raw)


def _mistakes(suite: Suite) -> Iterator[tuple[Loc, str]]:
    if len(suite.budget.spent) != 1:
        written = ", ".join(suite.budget.spent) or "none"
        yield (
            ("budget",),
            f"budget must have exactly one of seconds, forwards, images and epochs, not {written}; "
            "to write another: -s 'budget={epochs: 2}'",
        )
    for i, (seed, number) in enumerate(Counter(suite.seeds).items()):
        if number > 1:
            yield ("seeds", i), f"the seed {seed} is written {number} times; keep one"
    fragments: dict[Loc, Mapping[str, Any]] = {("common",): suite.common}
    fragments |= {("contenders", name): fragment for name, fragment in suite.contenders.items()}
    for where, fragment in fragments.items():
        for key in _SET_BY_THE_SUITE:
            if key in fragment:
                mistake = f"{dotted_path((*where, key))} is set by the suite itself; remove it"
                yield (*where, key), mistake
    if _EXTENDS in suite.common:
        yield ("common", _EXTENDS), "common is merged over recipes and extends none; write `recipe`"


def _names(raw: Raw) -> list[str]:
    """Of the contenders, where they are written as they must be."""
    contenders = raw.data.get("contenders")
    return list(contenders) if isinstance(contenders, dict) else []


def _in_contender(override: str | Override, names: list[str]) -> str | Override:
    """The same; of a contender whose name has dots (`contenders.eta_0.9.objective.beta=1`) too.

    Raises:
        RecipeError: it is a part of a contender that the suite does not have.
    """
    if isinstance(override, Override):
        return override
    path, _, value = override.partition("=")
    first, _, rest = path.strip().partition(".")
    if first != "contenders" or not rest:
        return override
    contender = max(
        (name for name in names if f"{rest}.".startswith(f"{name}.")), key=len, default=""
    )
    if not contender and "." in rest:
        given = rest.partition(".")[0]
        raise RecipeError(
            f"-s {override}: there is no contender '{given}'{suggest(given, names, 'contenders')}; "
            f"to add it: -s 'contenders.{given}={{...}}'"
        )
    if "." not in contender or not value.strip():
        return override
    origin = OptionOrigin(f"-s {override}")
    keys = [key for key in rest[len(contender) :].split(".") if key]
    return Override((first, contender, *keys), from_yaml(value, origin), origin)


def _without(raw: Raw, key: str) -> Raw:
    data = {name: value for name, value in raw.data.items() if name != key}
    return Raw(data, Origins(raw.origins.source, raw.origins.places))
