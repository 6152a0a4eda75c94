"""The tree that a recipe is while it is read: what each part is, and where it was written.

Merging and overriding make new trees; the last is split into plain data and the places in it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from zoo.recipe.errors import Loc, Origin, RecipeError, dotted_path, shown

DEFAULT_NAMES: Mapping[Loc, str] = {("sampler",): "flow"}
"""Components that a recipe may leave unnamed, and what they are then."""


T = TypeVar("T")

_MOST = 2**63 - 1
"""The largest whole number: more has no place in a tensor's size or a JSON schema."""
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What no path can have, and no file in UTF-8."""


@dataclass(frozen=True)
class Node:
    """A scalar, a dict of nodes or a list of nodes, and where it was written."""

    value: Any
    origin: Origin


def to_tree(value: Any, origin_at: Callable[[Loc], Origin], loc: Loc = ()) -> Node:
    """The tree of plain data, given where each part of it was written."""
    inner = value
    if isinstance(value, dict):
        inner = {key: to_tree(item, origin_at, (*loc, key)) for key, item in value.items()}
    elif isinstance(value, list):
        inner = [to_tree(item, origin_at, (*loc, i)) for i, item in enumerate(value)]
    return Node(require_scalar(inner, origin_at(loc)), origin_at(loc))


def require_scalar(value: T, origin: Origin) -> T:
    """A scalar that every part of zoo can take; what is none is given back as it is.

    Raises:
        RecipeError: a whole number is beyond 64 bits, or a text cannot be written to a file.
    """
    if isinstance(value, int) and abs(value) > _MOST:
        raise RecipeError(f"{origin}: a whole number lies between -2^63 and 2^63; write another")
    if isinstance(value, str) and (wrong := _NO_TEXT.search(value)):
        raise RecipeError(
            f"{origin}: the text {shown(value)} has {wrong[0]!r}, which no file's name and no "
            "UTF-8 text can have; remove it"
        )
    return value


def merge(base: Node, over: Node, loc: Loc) -> Node:
    """Mappings merge key by key; everything else, and another component, replaces what was."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    if loc and "name" in over.value:
        before = base.value["name"].value if "name" in base.value else DEFAULT_NAMES.get(loc)
        if before not in (None, over.value["name"].value):
            return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node, (*loc, key)) if key in merged else node
    return Node(merged, over.origin)


def put(node: Node, keys: Sequence[str], new: Node, loc: Loc) -> Node:
    """The tree with `new` at `keys` below `node`; mappings that are missing on the way are made.

    A part that is null, such as `eval`, is as good as missing.
    """
    if not keys:
        return new
    key, rest = keys[0], keys[1:]
    if node.value is None:
        node = Node({}, node.origin)
    if isinstance(node.value, dict):
        child = node.value.get(key, Node({}, new.origin))
        return Node({**node.value, key: put(child, rest, new, (*loc, key))}, node.origin)
    if isinstance(node.value, list):
        size = len(node.value)
        if not key.isdecimal() or int(key) >= size:
            allowed = f"an index from 0 to {size - 1}" if size else "nothing, as the list is empty"
            raise RecipeError(
                f"{new.origin}: {dotted_path(loc)} is a list of {size}: allowed after it is "
                f"{allowed}, not '{key}'; to make it longer set it whole: -s "
                f"'{dotted_path(loc)}=[...]'"
            )
        items = list(node.value)
        items[int(key)] = put(items[int(key)], rest, new, (*loc, int(key)))
        return Node(items, node.origin)
    raise RecipeError(
        f"{new.origin}: {dotted_path(loc)} is {shown(node.value)} ({node.origin}), which has no "
        f"'{key}'; set it whole: -s '{dotted_path(loc)}={{{key}: ...}}'"
    )


def plain(node: Node, loc: Loc = (), places: dict[Loc, Origin] | None = None) -> Any:
    """The data of a tree; `places` takes the origin of each part."""
    if places is not None:
        places[loc] = node.origin
    if isinstance(node.value, dict):
        return {key: plain(child, (*loc, key), places) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child, (*loc, i), places) for i, child in enumerate(node.value)]
    return node.value
