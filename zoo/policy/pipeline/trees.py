"""Nested arguments and results: their leaves by path, and which axis of each leaf is rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from zoo.devices import send

T = TypeVar("T")
Path = tuple[str | int, ...]
"""Keys and places on the way to a leaf."""
LIST = -1
"""In the place of an axis: the rows are the items of a list."""
Axes = Mapping[Path, int]
"""The axis of rows of leaves and lists that have one, by path."""

_LENGTH = "#"


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path; the length of a list is one, too."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list | tuple):
        yield (*path, _LENGTH), len(tree)
        for i, value in enumerate(tree):
            yield from leaves(value, (*path, i))
    else:
        yield path, tree


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors of a tree."""
    return (leaf for _, leaf in leaves(tree) if isinstance(leaf, Tensor))


def mapped(tree: T, change: Callable[[Path, Any], Any], path: Path = ()) -> T:
    """A tree with leaves and lists changed; what `change` gives back as it was is gone into."""
    if (new := change(path, tree)) is not tree:
        return new  # type: ignore[no-any-return]
    inner: Any
    if isinstance(tree, Mapping):
        inner = {key: mapped(value, change, (*path, key)) for key, value in tree.items()}
        return inner if type(tree) is dict else type(tree)(**inner)
    if isinstance(tree, list | tuple):
        inner = [mapped(value, change, (*path, i)) for i, value in enumerate(tree)]
        return type(tree)(*inner) if hasattr(tree, "_fields") else type(tree)(inner)
    return tree


def on_tensors(tree: T, change: Callable[[Tensor], Tensor]) -> T:
    """A tree with every tensor changed."""
    return mapped(tree, lambda _, leaf: change(leaf) if isinstance(leaf, Tensor) else leaf)


def differing(one: Any, other: Any) -> set[Path]:
    """The paths of tensors of `one` whose values are not those of the other tree."""
    there = dict(leaves(other))

    def same(leaf: Tensor, twin: Any) -> bool:
        return isinstance(twin, Tensor) and leaf.shape == twin.shape and torch.equal(leaf, twin)

    return {
        path
        for path, leaf in leaves(one)
        if isinstance(leaf, Tensor) and not same(leaf, there.get(path))
    }


def row_axes(once: Any, twice: Any) -> dict[Path, int]:
    """Which axis of a leaf is rows, by two trees of which the second has twice the rows."""
    there, axes = dict(leaves(twice)), {}
    for path, leaf in leaves(once):
        other = there.get(path)
        if isinstance(leaf, Tensor) and isinstance(other, Tensor) and leaf.ndim == other.ndim:
            grown = [i for i, n in enumerate(leaf.shape) if n and other.shape[i] == 2 * n]
            if grown:
                axes[path] = grown[0]
        elif path[-1:] == (_LENGTH,) and leaf and other == 2 * leaf:
            axes[path[:-1]] = LIST
    lists = {path for path, axis in axes.items() if axis == LIST}
    return {
        path: axis
        for path, axis in axes.items()
        if not any(path[:i] in lists for i in range(len(path)))
    }


def num_rows(tree: Any, axes: Axes) -> int:
    """How many rows the first leaf or list has that has any; 0 where none has."""
    for path, axis in axes.items():
        leaf = tree
        for key in path:
            leaf = leaf[key]
        return len(leaf) if axis == LIST else int(leaf.shape[axis])
    return 0


def rows_at(tree: T, axes: Axes, index: Int[Tensor, " rows"]) -> T:
    """The rows at these places; what has no rows stays."""

    def taken(path: Path, leaf: Any) -> Any:
        axis = axes.get(path)
        if axis == LIST:
            return type(leaf)([leaf[i] for i in index.tolist()])
        if axis is None or not isinstance(leaf, Tensor):
            return leaf
        return leaf.index_select(axis, send(index, leaf.device))

    return mapped(tree, taken)


def portion(tree: T, axes: Axes, which: int, of: int) -> T:
    """One of `of` equal portions of the rows."""

    def cut(path: Path, leaf: Any) -> Any:
        axis = axes.get(path)
        if axis == LIST:
            size = len(leaf) // of
            return leaf[which * size : (which + 1) * size]
        return leaf.chunk(of, axis)[which] if axis is not None else leaf

    return mapped(tree, cut)


def joined(parts: Sequence[Any], axes: Axes, path: Path = ()) -> Any:
    """Portions put together; what has no rows is the first's."""
    first, axis = parts[0], axes.get(path)
    if axis == LIST:
        return type(first)([row for part in parts for row in part])
    if isinstance(first, Tensor):
        return first if axis is None else torch.cat(list(parts), axis)
    if isinstance(first, Mapping):
        inner = {key: joined([p[key] for p in parts], axes, (*path, key)) for key in first}
        return inner if type(first) is dict else type(first)(**inner)
    if isinstance(first, list | tuple):
        return type(first)(
            joined(list(items), axes, (*path, i))
            for i, items in enumerate(zip(*parts, strict=True))
        )
    return first


def in_list(path: Path) -> Path:
    """A path without its places inside a list: rows of a list are alike."""
    return tuple(key for i, key in enumerate(path) if i < 2 or not isinstance(key, int))
