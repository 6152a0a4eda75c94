"""What a GenEval prompt asks for, read strictly from its metadata.

The form is that of GenEval's prompt files (Ghosh et al. 2023, arXiv 2310.11513), with the text out:

    {"tag": "position", "include": [{"class": "dog", "count": 1},
                                    {"class": "cup", "count": 1, "position": ["left of", 0]}]}
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.errors import suggest
from zoo.prompt import Prompt, PromptError

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
RELATIONS = ("left of", "right of", "above", "below")


@dataclass(frozen=True)
class Vocabulary:
    """What a reward has names for."""

    reward: str
    """Its name, for messages."""
    prompts: str
    """Those that it reads, for messages."""
    canonical: Callable[[str], str]
    """A class by its own name; raises a ValueError where there is none."""
    classes: str
    """What a class is one of, for messages: "COCO's classes"."""
    colors: Sequence[str]
    example: str
    """The name of a class."""


@dataclass(frozen=True)
class Position:
    """Where objects must be, seen from those of an earlier requirement."""

    relation: str
    target: int
    """The other requirement's place in `Wanted.include`."""


@dataclass(frozen=True)
class Requirement:
    """So many objects of a class, perhaps all of one colour or in one place."""

    name: str
    """The class, by GenEval's name."""
    count: int
    color: str | None = None
    position: Position | None = None


@dataclass(frozen=True)
class Wanted:
    """All that must hold: every requirement of `include`, and none of `exclude`."""

    tag: str
    include: tuple[Requirement, ...]
    exclude: tuple[Requirement, ...] = ()
    """Wrong where there are that many objects of a class, or more."""

    @property
    def names(self) -> frozenset[str]:
        """All classes that matter."""
        return frozenset(each.name for each in (*self.include, *self.exclude))


def read_wanted(prompt: Prompt, vocabulary: Vocabulary) -> Wanted:
    """What a prompt's metadata asks for; keys that other rewards may read are left alone.

    Raises:
        PromptError: in one line, what is missing or wrong.
    """
    metadata = prompt.metadata
    if "include" not in metadata or "tag" not in metadata:
        raise PromptError(
            f"the prompt {prompt.text!r} has no 'tag' and 'include' in its metadata, which the "
            f"reward {vocabulary.reward} reads; use {vocabulary.prompts}, or add "
            f'{{"tag": "counting", "include": [{{"class": "{vocabulary.example}", "count": 2}}]}}, '
            "say"
        )
    try:
        tag = _one_of(TAGS, metadata["tag"], "tag")
        include = _clauses(metadata["include"], "include", _INCLUDED, vocabulary)
        exclude = _clauses(metadata.get("exclude", []), "exclude", _EXCLUDED, vocabulary)
        if not include:
            raise ValueError("'include' is empty; ask for an object")
    except ValueError as error:
        raise PromptError(f"the GenEval metadata of the prompt {prompt.text!r}: {error}") from None
    return Wanted(tag, include, exclude)


_EXCLUDED = ("class", "count")
_INCLUDED = (*_EXCLUDED, "color", "position")


def _clauses(
    given: Any, key: str, allowed: Sequence[str], vocabulary: Vocabulary
) -> tuple[Requirement, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(f"{key!r} is {given!r}; write a list of {{class, count}}")
    clauses = []
    for i, each in enumerate(given):
        where = f"{key}[{i}]"
        _require_clause(each, where, allowed)
        clauses.append(_clause(each, where, i, vocabulary))
    return tuple(clauses)


def _require_clause(given: Any, where: str, allowed: Sequence[str]) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} is {given!r}; write {{class, count}}")
    for key in given:
        if key not in allowed:
            raise ValueError(f"{where} has the key {key!r}{suggest(str(key), allowed, 'allowed')}")


def _clause(given: Any, where: str, index: int, vocabulary: Vocabulary) -> Requirement:
    name, count = given.get("class"), given.get("count")
    if not isinstance(name, str):
        raise ValueError(f"{where} has the class {name!r}; name one of {vocabulary.classes}")
    if type(count) is not int or count < 1:
        raise ValueError(f"{where} has the count {count!r}; write an integer of at least 1")
    try:
        name = vocabulary.canonical(name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    colors = vocabulary.colors
    color = _one_of(colors, given["color"], f"{where}.color") if "color" in given else None
    position = _position(given["position"], where, index) if "position" in given else None
    return Requirement(name, count, color, position)


def _position(given: Any, where: str, index: int) -> Position:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
        raise ValueError(f"{where}.position is {given!r}; write ['left of', 0], say")
    relation, target = given
    if type(target) is not int or not 0 <= target < index:
        raise ValueError(
            f"{where}.position is relative to {target!r}; name an earlier clause of 'include' by "
            "its number, from 0"
        )
    return Position(_one_of(RELATIONS, relation, f"{where}.position"), target)


def _one_of(allowed: Sequence[str], given: Any, where: str) -> str:
    if given not in allowed:
        raise ValueError(f"{where} is {given!r}{suggest(str(given), allowed, 'allowed')}")
    return str(given)
