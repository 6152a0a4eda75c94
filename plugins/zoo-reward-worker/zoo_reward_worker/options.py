"""A constructor's options as a JSON schema, and JSON values as its annotations want them.

Understood are bool, int, float, str, Path, Literal, Optional, Union, lists, tuples, dicts with text
keys, frozen dataclasses, and limits in Annotated that have `ge`, `gt`, `le` or `lt`.
"""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

_PLAIN: Mapping[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "string",
    type(None): "null",
}
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


class OptionError(TypeError):
    """A constructor is not written as a reward's must be, or a value does not fit it."""


def options(cls: type[Any]) -> dict[str, dict[str, Any]]:
    """The schema of each option by name, with its `default` where it has one.

    Raises:
        OptionError: the constructor has options of other types, or not keyword-only ones.
    """
    return {
        name: _describe(hint, default, f"option '{name}' of {cls.__name__}")
        for name, (hint, default) in _keywords(cls).items()
    }


def takes_device(cls: type[Any]) -> bool:
    """Whether the constructor wants the device as a positional argument."""
    return any(p.kind is p.POSITIONAL_ONLY for p in _parameters(cls))


def fit_options(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values as the constructor's annotations want them: paths, tuples and dataclasses."""
    keywords = _keywords(cls)
    unknown = sorted(values.keys() - keywords.keys())
    if unknown:
        raise OptionError(
            f"{cls.__name__} has no option '{unknown[0]}'; it has: {', '.join(keywords) or 'none'}"
        )
    return {name: _fit(keywords[name][0], value) for name, value in values.items()}


def _parameters(cls: type[Any]) -> list[inspect.Parameter]:
    constructor: Any = cls.__init__
    if constructor is object.__init__:
        return []
    return list(inspect.signature(constructor).parameters.values())[1:]


def _keywords(cls: type[Any]) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    constructor: Any = cls.__init__
    hints = get_type_hints(constructor, include_extras=True) if _parameters(cls) else {}
    for parameter in _parameters(cls):
        if parameter.kind is parameter.POSITIONAL_ONLY:
            continue
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name not in hints:
            raise OptionError(
                f"{cls.__name__} takes '{parameter}'; write "
                "def __init__(self, device, /, *, option: type = default)"
            )
        found[parameter.name] = (hints[parameter.name], parameter.default)
    return found


def _describe(hint: Any, default: Any, what: str) -> dict[str, Any]:
    schema = _schema(hint, what)
    if default is not inspect.Parameter.empty and default is not dataclasses.MISSING:
        schema["default"] = _plain(default)
    return schema


def _schema(hint: Any, what: str) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return {**_schema(arguments[0], what), **_limits(arguments[1:])}
    if hint in _PLAIN:
        # What recipes have of paths is expanded where they are read.
        return {"type": _PLAIN[hint], **({"format": "path"} if hint is Path else {})}
    if origin is Literal:
        return {"enum": list(arguments)}
    if _is_union(origin):
        return {"anyOf": [_schema(argument, what) for argument in arguments]}
    if _is_list(origin, arguments):
        return {"type": "array", "items": _schema(arguments[0], what)}
    if _is_dict(origin, arguments):
        return {"type": "object", "additionalProperties": _schema(arguments[1], what)}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return {"type": "object", "title": hint.__name__, "properties": _fields(hint, what)}
    raise OptionError(
        f"the {what} has a type that a recipe cannot write ({inspect.formatannotation(hint)}); "
        "use numbers, text, bool, Path, Literal, lists of them or a frozen dataclass"
    )


def _fields(cls: Any, what: str) -> dict[str, Any]:
    hints, found = get_type_hints(cls, include_extras=True), {}
    for spec in dataclasses.fields(cls):
        made = spec.default_factory
        default = spec.default if made is dataclasses.MISSING else made()
        found[spec.name] = _describe(hints[spec.name], default, what)
    return found


def _limits(marks: tuple[Any, ...]) -> dict[str, Any]:
    found = {}
    for mark in marks:
        for ours, theirs in _LIMITS.items():
            limit = getattr(mark, ours, None)
            if limit is not None:
                found[theirs] = limit
    return found


def _fit(hint: Any, value: Any) -> Any:
    hint, origin, arguments = _taken_apart(hint)
    if hint is Path:
        return Path(value)
    if hint is float and isinstance(value, int):
        return float(value)
    if _is_union(origin):
        return _fit(next((a for a in arguments if _admits(a, value)), Any), value)
    if _is_list(origin, arguments):
        made = [_fit(arguments[0], item) for item in value]
        return tuple(made) if origin is tuple else made
    if _is_dict(origin, arguments):
        return {key: _fit(arguments[1], item) for key, item in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return hint(**{key: _fit(hints[key], item) for key, item in value.items()})
    return value


def _admits(hint: Any, value: Any) -> bool:
    """Whether a JSON value is of a union's member."""
    hint, origin, arguments = _taken_apart(hint)
    if origin is Literal:
        return value in arguments
    if _is_list(origin, arguments):
        return isinstance(value, list)
    if hint in _PLAIN:
        wanted = str if hint is Path else hint
        return type(value) is wanted or (hint is float and type(value) is int)
    return isinstance(value, dict)


def _taken_apart(hint: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """A type without its limits, and what it is of what."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint, get_origin(hint), get_args(hint)


def _plain(value: Any) -> Any:
    """A default as JSON holds it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _is_union(origin: Any) -> bool:
    # X | Y has an origin of its own since Python 3.10.
    return origin is Union or getattr(origin, "__name__", "") == "UnionType"


def _is_list(origin: Any, arguments: tuple[Any, ...]) -> bool:
    if origin is tuple:
        return arguments[-1:] == (...,)
    return origin in _SEQUENCES and bool(arguments)


def _is_dict(origin: Any, arguments: tuple[Any, ...]) -> bool:
    return origin in _MAPPINGS and bool(arguments) and arguments[0] is str


_SEQUENCES = (list, get_origin(Sequence[int]))
_MAPPINGS = (dict, get_origin(Mapping[str, int]))
