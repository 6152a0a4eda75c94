"""Reads a recipe: YAML 1.2, `extends`, overrides; and remembers where every part was written.

The text becomes a tree of nodes, each with its origin; merging and overriding make new trees, and
the last one is split into plain data and the origins by location.
"""

import datetime
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from zoo.recipe.errors import Loc, Origins, RecipeError, dotted, shown
from zoo.registry import closest

DEFAULT_NAMES: Mapping[Loc, str] = {("sampler",): "flow"}
"""Components that a recipe may leave unnamed, and what they are then."""

_MAX_DEPTH = 50


@dataclass(frozen=True)
class Raw:
    """A recipe as written: mappings, lists and scalars only, and the origin of each by location."""

    data: dict[str, Any]
    origins: Origins


@dataclass(frozen=True)
class _Node:
    """A scalar, a dict of nodes or a list of nodes, and where it was written."""

    value: Any
    origin: str


def read(path: str | Path, overrides: Sequence[str] = ()) -> Raw:
    """A recipe file with what it extends and the overrides (`a.b=c`, in order) applied.

    Raises:
        RecipeError: a file or an override cannot be read; the line says where and what to write.
    """
    return _raw(_file(Path(path), ()), overrides, (), str(path))


def overridden(data: Mapping[str, Any], overrides: Sequence[str], *, below: Loc) -> Raw:
    """Plain data with overrides (`b.c=d`, of what is at `below`) applied.

    Raises:
        RecipeError: an override cannot be read.
    """
    return _raw(_made(data), overrides, below, "the command line")


def stage_of(raw: Raw, index: int) -> Raw:
    """The recipe of one stage: the stage's keys, but for its name, merged over what is no stage.

    Its places say which stage it is, since what is at fault may be written elsewhere.
    """
    whole = _again(raw.data, raw.origins, (), f": stages.{index}")
    stage = whole.value["stages"].value[index]
    base = {key: node for key, node in whole.value.items() if key != "stages"}
    own = {key: node for key, node in stage.value.items() if key != "name"}
    merged = _merge(_Node(base, whole.origin), _Node(own, stage.origin), ())
    return _raw(merged, (), (), raw.origins.source)


def changed(raw: Raw, overrides: Sequence[str]) -> Raw:
    """What was read, with overrides (`a.b=c`) applied to it.

    Raises:
        RecipeError: an override cannot be read.
    """
    return _raw(_again(raw.data, raw.origins, (), ""), overrides, (), raw.origins.source)


def _again(value: Any, origins: Origins, loc: Loc, mark: str) -> _Node:
    """The tree that plain data came from, with `mark` after every place."""
    inner = value
    if isinstance(value, dict):
        inner = {k: _again(item, origins, (*loc, k), mark) for k, item in value.items()}
    elif isinstance(value, list):
        inner = [_again(item, origins, (*loc, i), mark) for i, item in enumerate(value)]
    return _Node(inner, f"{origins.at(loc)}{mark}")


def _raw(node: _Node, overrides: Sequence[str], below: Loc, source: str) -> Raw:
    for override in overrides:
        node = _override(node, override, below)
    places: dict[Loc, str] = {}
    return Raw(_plain(node, (), places), Origins(source, places))


def _made(value: Any) -> _Node:
    inner = {key: _made(item) for key, item in value.items()} if isinstance(value, dict) else value
    return _Node(inner, "the command line")


def _file(path: Path, trail: tuple[Path, ...]) -> _Node:
    seen = (*trail, path)
    if path.resolve() in [before.resolve() for before in trail]:
        chain = " extends ".join(map(str, seen))
        raise RecipeError(f"{trail[-1]}: a recipe cannot extend itself: {chain}; remove one")
    node = _parse(_text(path), lambda line: f"{path}:{line}", str(path))
    if node.value is None:
        raise RecipeError(f"{path}: the file is empty; a recipe is a mapping (name, epochs, ...)")
    if not isinstance(node.value, dict):
        raise RecipeError(
            f"{node.origin}: a recipe must be a mapping (name: ..., epochs: ...), "
            f"not {shown(_plain(node))}"
        )
    if "extends" not in node.value:
        return node
    extends = node.value["extends"]
    own = {key: value for key, value in node.value.items() if key != "extends"}
    if not isinstance(extends.value, str):
        raise RecipeError(
            f"{extends.origin}: extends must be the path of one other recipe, relative to this "
            f"file (extends: base.yaml), not {shown(_plain(extends))}"
        )
    base = Path(os.path.normpath(path.parent / extends.value))
    if not base.is_file():
        raise RecipeError(
            f"{extends.origin}: extends {base}, which is no file{_sibling(base, path)}"
        )
    return _merge(_file(base, seen), _Node(own, node.origin), ())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such recipe{_sibling(path)}") from None
    except OSError as error:
        raise RecipeError(f"{path}: the recipe cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: the recipe is not UTF-8 text; save it as UTF-8") from error


def _sibling(path: Path, besides: Path | None = None) -> str:
    found = path.parent.glob("*.yaml") if path.parent.is_dir() else ()
    names = sorted(str(other) for other in found if other != besides)
    return closest(str(path), names) or "; check the path"


def _parse(text: str, place: Callable[[int], str], source: str) -> _Node:
    try:
        return _node(YAML(typ="rt").load(text), 1, place)
    except DuplicateKeyError as error:
        key = re.search(r'"(.*?)"', error.problem or "")
        what = f"the key '{key[1]}' is" if key else "a key is"
        raise RecipeError(f"{place(_line(error))}: {what} written twice; keep one") from error
    except MarkedYAMLError as error:
        said = " ".join(filter(None, (error.context, error.problem)))
        raise RecipeError(
            f"{place(_line(error))}: this is not YAML: {' '.join(said.split())}; correct the syntax"
        ) from error
    except (YAMLError, ValueError) as error:
        said = " ".join(str(error).split())
        raise RecipeError(f"{source}: this is not YAML: {said}; correct the syntax") from error


def _line(error: MarkedYAMLError) -> int:
    return error.problem_mark.line + 1 if error.problem_mark else 1


def _node(value: object, line: int, place: Callable[[int], str], depth: int = 0) -> _Node:
    if depth > _MAX_DEPTH:
        raise RecipeError(
            f"{place(line)}: nested more than {_MAX_DEPTH} deep; is an alias inside what it names?"
        )
    if isinstance(value, CommentedMap | CommentedSeq):
        # Keys that come from a merge (<<) have no line of their own.
        lines = {key: mark[0] + 1 for key, mark in (value.lc.data or {}).items()}
        items = value.items() if isinstance(value, CommentedMap) else enumerate(value)
        nodes = {k: _node(v, lines.get(k, line), place, depth + 1) for k, v in items}
        if isinstance(value, CommentedSeq):
            return _Node(list(nodes.values()), place(line))
        for key in nodes:
            if not isinstance(key, str):
                raise RecipeError(
                    f"{place(lines.get(key, line))}: a key must be text, not {shown(key)}; "
                    "put it in quotes"
                )
        return _Node({str(key): node for key, node in nodes.items()}, place(line))
    return _Node(_scalar(value, place(line)), place(line))


def _scalar(value: object, origin: str) -> str | int | float | bool | None:
    """A plain Python scalar: ruamel's own types remember how a number was written."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, ScalarBoolean):
        return bool(value)
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, datetime.date):
        return str(value)
    raise RecipeError(
        f"{origin}: a value must be text, a number, true, false or null, "
        f"not {type(value).__name__}; remove the YAML tag (!...)"
    )


def _merge(base: _Node, over: _Node, loc: Loc) -> _Node:
    """Mappings merge key by key; everything else, and another component, replaces what was."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    if loc and "name" in over.value:
        before = base.value["name"].value if "name" in base.value else DEFAULT_NAMES.get(loc)
        if before not in (None, over.value["name"].value):
            return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = _merge(merged[key], node, (*loc, key)) if key in merged else node
    return _Node(merged, over.origin)


def _override(root: _Node, text: str, below: Loc) -> _Node:
    origin = f"-s {text}"
    path, _, value = text.partition("=")
    keys = path.strip().split(".")
    if not value.strip() or not all(keys):
        raise RecipeError(
            f"{origin}: an override has the form key=value or a.b=value (null for no value): "
            "-s optim.lr=1e-4"
        )
    new = _parse(value, lambda line: origin, origin)
    return _put(root, [*map(str, below), *keys], new, ())


def _put(node: _Node, keys: Sequence[str], new: _Node, loc: Loc) -> _Node:
    """The tree with `new` at `keys` below `node`; mappings that are missing on the way are made."""
    if not keys:
        return new
    key, rest = keys[0], keys[1:]
    if isinstance(node.value, dict):
        child = node.value.get(key, _Node({}, new.origin))
        return _Node({**node.value, key: _put(child, rest, new, (*loc, key))}, node.origin)
    if isinstance(node.value, list):
        size = len(node.value)
        if not key.isdecimal() or int(key) >= size:
            allowed = f"an index from 0 to {size - 1}" if size else "nothing, as the list is empty"
            raise RecipeError(
                f"{new.origin}: {dotted(loc)} is a list of {size}: allowed after it is {allowed}, "
                f"not '{key}'; to make it longer set it whole: -s '{dotted(loc)}=[...]'"
            )
        items = list(node.value)
        items[int(key)] = _put(items[int(key)], rest, new, (*loc, int(key)))
        return _Node(items, node.origin)
    raise RecipeError(
        f"{new.origin}: {dotted(loc)} is {shown(node.value)} ({node.origin}), which has no "
        f"'{key}'; set it whole: -s '{dotted(loc)}={{{key}: ...}}'"
    )


def _plain(node: _Node, loc: Loc = (), places: dict[Loc, str] | None = None) -> Any:
    if places is not None:
        places[loc] = node.origin
    if isinstance(node.value, dict):
        return {key: _plain(child, (*loc, key), places) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child, (*loc, i), places) for i, child in enumerate(node.value)]
    return node.value
