"""Reads a recipe: YAML 1.2, `extends`, overrides; and remembers where every part was written.

The text becomes a tree of nodes, each with its origin: see `tree`.
"""

import datetime
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from zoo.errors import closest, join_lines
from zoo.recipe import shipped
from zoo.recipe.errors import FileOrigin, Loc, OptionOrigin, Origin, Origins, RecipeError, shown
from zoo.recipe.expand import expanded
from zoo.recipe.presets import merged, without_presets
from zoo.recipe.renamed import renamed
from zoo.recipe.tree import Node, merge, plain, put, require_scalar, to_tree

_MAX_DEPTH = 50
"""Of mappings and lists in each other, and of recipes that extend each other."""
_MAX_PARTS = 20_000
"""Keys, items and what is in them, in a file: aliases of a few lines can stand for billions."""
_MAX_SIZE = 100_000
"""Characters of a file: the largest recipe has a few thousand, and a megabyte takes a minute."""


@dataclass(frozen=True)
class Raw:
    """A recipe as written: mappings, lists and scalars only, and the origin of each by location."""

    data: dict[str, Any]
    origins: Origins


@dataclass(frozen=True)
class Override:
    """A part that an option of a command sets: what it is now, and what errors call it.

    `-s` has the same as text; here `value` is plain data, and `origin` may be `--steps 0`, say.
    """

    loc: tuple[str, ...]
    value: Any
    origin: Origin


Overrides = Sequence[str | Override]
"""In the order in which they apply."""


def read(path: str | Path, overrides: Overrides = ()) -> Raw:
    """A recipe with what it extends and the overrides (`a.b=c`, in order) applied.

    `path` is a file, or the name of a recipe that comes with zoo: see `zoo.recipe.shipped`.

    Raises:
        RecipeError: a file or an override cannot be read; the line says where and what to write.
    """
    return _raw(_file(shipped.locate(Path(path)), ()), overrides, (), str(path))


def read_data(data: Mapping[str, Any], overrides: Overrides, *, below: Loc) -> Raw:
    """Plain data with overrides (`b.c=d`, of what is at `below`) applied.

    Raises:
        RecipeError: an override cannot be read.
    """
    source = "the command line"
    tree = to_tree(data, lambda loc: FileOrigin(source))
    return _raw(tree, overrides, below, source)


def stage_of(raw: Raw, index: int) -> Raw:
    """The recipe of one stage: the stage's keys, but for its name, merged over what is no stage.

    Its places say which stage it is, since what is at fault may be written elsewhere.
    """
    whole = to_tree(raw.data, lambda loc: raw.origins.at(loc).in_stage(index))
    stage = whole.value["stages"].value[index]
    base = {key: node for key, node in whole.value.items() if key != "stages"}
    own = {key: node for key, node in stage.value.items() if key != "name"}
    node = merge(Node(base, whole.origin), Node(own, stage.origin), ())
    return _raw(node, (), (), raw.origins.source)


def apply_overrides(raw: Raw, overrides: Overrides) -> Raw:
    """What was read, with overrides (`a.b=c`) applied to it.

    Raises:
        RecipeError: an override cannot be read.
    """
    return _raw(to_tree(raw.data, raw.origins.at), overrides, (), raw.origins.source)


def part(raw: Raw, loc: Loc) -> Raw:
    """What is at a location of what was read; its places are those of the whole."""
    data: Any = raw.data
    for key in loc:
        data = data[key]
    places = {
        at[len(loc) :]: place for at, place in raw.origins.places.items() if at[: len(loc)] == loc
    }
    return Raw(data, Origins(raw.origins.source, places))


def merge_fragments(base: Raw, fragments: Sequence[Raw]) -> Raw:
    """A recipe with fragments merged over it in order, as `extends` merges.

    A fragment's keys with dots (`objective.beta`) set one part each, as an override does.

    Raises:
        RecipeError: a key with dots leads nowhere.
    """
    node = to_tree(base.data, base.origins.at)
    for fragment in fragments:
        over = to_tree(fragment.data, fragment.origins.at)
        whole = {key: child for key, child in over.value.items() if "." not in key}
        node = merged(node, Node(whole, node.origin))
        for key, child in over.value.items():
            if key not in whole:
                node = put(node, key.split("."), child, ())
    return _raw(node, (), (), base.origins.source)


def from_yaml(text: str, origin: Origin) -> Any:
    """Plain data from the YAML of an option; `origin` is what errors call it.

    Raises:
        RecipeError: it is not YAML.
    """
    return plain(_parse(text, lambda line: origin))


def _raw(node: Node, overrides: Overrides, below: Loc, source: str) -> Raw:
    node = renamed(node)
    for override in overrides:
        node = renamed(_override(node, override, below))
    places: dict[Loc, Origin] = {}
    return Raw(plain(node, (), places), Origins(source, places))


def _file(path: Path, trail: tuple[Path, ...]) -> Node:
    seen = (*trail, path)
    if os.path.realpath(path) in map(os.path.realpath, trail):
        chain = " extends ".join(map(str, seen))
        raise RecipeError(f"{trail[-1]}: a recipe cannot extend itself: {chain}; remove one")
    if len(seen) > _MAX_DEPTH:
        raise RecipeError(f"{path}: over {_MAX_DEPTH} recipes extend each other; write fewer")
    node = _parse(_text(path), partial(FileOrigin, str(path)))
    if node.value is None:
        raise RecipeError(f"{path}: the file is empty; a recipe is a mapping (name, epochs, ...)")
    if not isinstance(node.value, dict):
        raise RecipeError(
            f"{node.origin}: a recipe must be a mapping (name: ..., epochs: ...), "
            f"not {shown(plain(node))}"
        )
    if "extends" not in node.value:
        return without_presets(node)
    extends = node.value["extends"]
    own = {key: value for key, value in node.value.items() if key != "extends"}
    if not isinstance(extends.value, str):
        raise RecipeError(
            f"{extends.origin}: extends must be the path of one other recipe, relative to this "
            f"file (extends: base.yaml), not {shown(plain(extends))}"
        )
    named = expanded(extends.value, extends.origin, "extends")
    base = Path(os.path.normpath(path.parent / named))
    if not os.path.lexists(base):
        # A copy of a recipe extends those that come with zoo.
        ours = shipped.locate(Path(named))
        base = ours if os.path.isfile(ours) else base
    if not os.path.isfile(base):
        raise RecipeError(
            f"{extends.origin}: extends {base}, which is no file{_sibling(base, path)}"
        )
    return merged(_file(base, seen), Node(own, node.origin))


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file{_sibling(path)}") from None
    except OSError as error:
        raise RecipeError(f"{path}: the recipe cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: the recipe is not UTF-8 text; save it as UTF-8") from error
    if len(text) > _MAX_SIZE:
        raise RecipeError(
            f"{path}: the file has over {_MAX_SIZE:,} characters, and no recipe needs as many; "
            "name prompts in a file of their own (data.train)"
        )
    return text


def _sibling(path: Path, besides: Path | None = None) -> str:
    recipes = path.parent.glob("*.yaml") if os.path.isdir(path.parent) else ()
    names = sorted(str(other) for other in recipes if other != besides)
    here = closest(str(path), names)
    if here or besides is not None or not shipped.is_name(path):
        return here or "; check the path"
    like = closest(path.stem, shipped.names())
    return f"{like or ';'} `zoo recipes` lists those that come with zoo"


def _parse(text: str, place: Callable[[int | None], Origin]) -> Node:
    """The tree of a text; `place` is the origin of a line, or of the whole."""
    too_deep = f"nested more than {_MAX_DEPTH} deep"
    # ruamel takes time with the square of the depth, long before Python's recursion ends.
    steps = (1 if bracket in "[{" else -1 for bracket in re.findall(r"[\[\]{}]", text))
    if max(accumulate(steps), default=0) > 2 * _MAX_DEPTH:
        raise RecipeError(f"{place(None)}: {too_deep}")
    try:
        loaded = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        key = re.search(r'"(.*?)"', error.problem or "")
        what = f"the key '{key[1]}' is" if key else "a key is"
        raise RecipeError(f"{place(_line(error))}: {what} written twice; keep one") from error
    except MarkedYAMLError as error:
        problem = " ".join(" ".join(filter(None, (error.context, error.problem))).split())
        raise _no_yaml(place(_line(error)), problem) from error
    except RecursionError as error:
        raise RecipeError(f"{place(None)}: {too_deep}") from error
    # ruamel raises anything for a tag that does not suit what it is on.
    except Exception as error:
        raise _no_yaml(place(None), join_lines(error)) from error
    return _Tree(place).node(loaded, 1)


def _no_yaml(place: Origin, why: str) -> RecipeError:
    return RecipeError(f"{place}: this is not YAML: {why}; correct the syntax")


def _line(error: MarkedYAMLError) -> int:
    return error.problem_mark.line + 1 if error.problem_mark else 1


class _Tree:
    """Makes the tree of what ruamel has read, which is as large as all that its aliases stand for.

    `place` is the origin of a line.
    """

    def __init__(self, place: Callable[[int | None], Origin]) -> None:
        self._place = place
        self._left = _MAX_PARTS

    def node(self, value: object, line: int, depth: int = 0) -> Node:
        if depth > _MAX_DEPTH:
            raise RecipeError(
                f"{self._place(line)}: nested more than {_MAX_DEPTH} deep; is an alias inside what "
                "it names?"
            )
        if isinstance(value, CommentedMap | CommentedSeq):
            return self._branch(value, line, depth)
        return Node(_scalar(value, self._place(line)), self._place(line))

    def _branch(self, value: CommentedMap | CommentedSeq, line: int, depth: int) -> Node:
        self._left -= len(value)
        if self._left < 0:
            raise RecipeError(
                f"{self._place(line)}: over {_MAX_PARTS:,} keys and items, with all that its "
                "aliases (*) stand for; no recipe needs as many"
            )
        # Keys that come from a merge (<<) have no line of their own.
        lines = {key: mark[0] + 1 for key, mark in (value.lc.data or {}).items()}
        items = value.items() if isinstance(value, CommentedMap) else enumerate(value)
        nodes = {k: self.node(v, lines.get(k, line), depth + 1) for k, v in items}
        if isinstance(value, CommentedSeq):
            return Node(list(nodes.values()), self._place(line))
        named: dict[str, Node] = {}
        for key, node in nodes.items():
            place = self._place(lines.get(key, line))
            if not isinstance(key, str):
                raise RecipeError(
                    f"{place}: a key must be text, not {shown(key)}; put it in quotes"
                )
            named[require_scalar(str(key), place)] = node
        return Node(named, self._place(line))


def _scalar(value: object, origin: Origin) -> str | int | float | bool | None:
    """A plain Python scalar: ruamel's own types remember how a number was written."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, ScalarBoolean):
        return bool(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return require_scalar(kind(value), origin)
    if isinstance(value, datetime.date):
        return str(value)
    raise RecipeError(
        f"{origin}: a value must be text, a number, true, false or null, "
        f"not {type(value).__name__}; remove the YAML tag (!...)"
    )


def _override(root: Node, override: str | Override, below: Loc) -> Node:
    if isinstance(override, Override):
        new = to_tree(override.value, lambda loc: override.origin)
        return put(root, [*map(str, below), *override.loc], new, ())
    origin = OptionOrigin(f"-s {override}")
    path, _, value = override.partition("=")
    keys = path.strip().split(".")
    if not value.strip() or not all(keys):
        raise RecipeError(
            f"{origin}: an override has the form key=value or a.b=value (null for no value): "
            "-s optim.lr=1e-4"
        )
    new = _parse(value, lambda line: origin)
    return put(root, [*map(str, below), *keys], new, ())
