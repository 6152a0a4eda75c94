"""Turns what pydantic found wrong into lines that say where, what was given and what is allowed."""

import json
from collections.abc import Mapping
from types import UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from zoo.errors import join_lines, suggest
from zoo.recipe.constructor_schema import options_model
from zoo.recipe.describe import bare, describe_type, field_types, slot_of
from zoo.recipe.errors import Loc, Origins, RecipeError, dotted_path, shown
from zoo.registry import BrokenPluginError

M = TypeVar("M", bound=BaseModel)

_MOST_LINES = 50
"""Of one refusal: nobody reads more, and each looks for the most similar key."""


class _Location(NamedTuple):
    """A location in a recipe, with what may stand there and what does."""

    loc: Loc
    annotation: Any
    raw: Any


def validate(model: type[M], data: Mapping[str, Any], origins: Origins) -> M:
    """The data as a model of a recipe.

    Raises:
        RecipeError: a line for each thing that is wrong.
    """
    try:
        return model.model_validate_json(json.dumps(data, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        # Of a path that is not UTF-8, such as $XDG_CACHE_HOME.
        raise RecipeError(
            f"{origins.source}: {error.object[error.start]!r} is in a text, which is no "
            "UTF-8 then; name files and folders in UTF-8"
        ) from None
    except ValidationError as error:
        raise RecipeError(*_lines(error, model, data, origins)) from None


def _lines(
    error: ValidationError, model: type[BaseModel], data: Mapping[str, Any], origins: Origins
) -> list[str]:
    lines: dict[Loc, str] = {}
    mistakes = error.errors(include_url=False)
    for details in mistakes[:_MOST_LINES]:
        loc = details["loc"]
        about_key = details["type"] in ("missing", "extra_forbidden")
        place = _follow(model, data, loc[:-1] if about_key else loc)
        where = (*place.loc, loc[-1]) if about_key else place.loc
        # Several errors at one place are one value that fits no member of a union.
        lines.setdefault(where, _line(details, place, origins))
    told = [
        line
        for loc, line in lines.items()
        if not any(len(other) > len(loc) and other[: len(loc)] == loc for other in lines)
    ]
    more = len(mistakes) - _MOST_LINES
    return [*told, f"{origins.source}: and {more:,} more mistakes"] if more > 0 else told


def _line(details: ErrorDetails, place: _Location, origins: Origins) -> str:
    kind, loc, key = details["type"], place.loc, (*details["loc"], "")[-2]
    context = details.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = list(_keys(place))
        unknown = dotted_path((*loc, key))
        hint = suggest(str(key), allowed, "allowed")
        return f"{origins.at((*loc, key))}: unknown key '{unknown}'{hint}"
    at, what = origins.at(loc), dotted_path(loc) or f"the {_whole(place.annotation)}"
    # In a list that is too short pydantic misses an index, in a mapping a key.
    if kind == "missing" and isinstance(key, str):
        return f"{at}: {what} needs '{key}': {describe_type(_keys(place).get(key, Any))}"
    if kind == "unknown_component":
        return f"{at}: {context['message']}"
    if kind == "mistake":
        return f"{at}: {what} {context['message']}"
    if kind == "value_error":
        return f"{at}: {what}: {join_lines(context['error'])}"
    if kind == "finite_number":
        return f"{at}: {what} must be a finite number, not {shown(place.raw)}"
    wanted = describe_type(place.annotation)
    return f"{at}: {what} must be {wanted}, not {shown(place.raw)}{_fix(wanted, place.raw)}"


def _whole(model: type[BaseModel]) -> str:
    """What the whole file is called."""
    return (model.model_config.get("title") or "recipe").lower()


def _fix(wanted: str, raw: Any) -> str:
    if isinstance(raw, str) and "number" in wanted:
        try:
            float(raw)
        except ValueError:
            return ""
        return "; remove the quotes"
    if isinstance(raw, str) and raw.lower() in ("yes", "no", "on", "off") and "true" in wanted:
        return "; write true or false"
    if raw is None:
        return "; leave the key out for its default"
    return ""


def _follow(model: type[BaseModel], data: Mapping[str, Any], loc: Loc) -> _Location:
    place = _Location((), model, data)
    for part in loc:
        step = _step(place, part)
        # What leads nowhere is pydantic's word for the member of a union that it tried.
        place = step or place
    return place


def _step(place: _Location, part: str | int) -> _Location | None:
    raw = place.raw
    for member in _members(place.annotation):
        inner: Any = None
        arguments = get_args(bare(member))
        if isinstance(part, str):
            inner = _model_keys(member, raw).get(part)
            if inner is None and isinstance(raw, Mapping) and part in raw and len(arguments) == 2:
                inner = arguments[1]
        elif arguments and isinstance(raw, list):
            repeated = len(arguments) == 1 or arguments[-1] is ...
            inner = arguments[0] if repeated else arguments[min(part, len(arguments) - 1)]
        if inner is not None:
            return _Location((*place.loc, part), inner, _get(raw, part))
    return None


def _keys(place: _Location) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for member in _members(place.annotation):
        keys |= _model_keys(member, place.raw)
    return keys


def _model_keys(member: Any, raw: Any) -> dict[str, Any]:
    """The keys of a model or of the component that `raw` names."""
    slot, model = slot_of(member), bare(member)
    if slot:
        try:
            model = options_model(slot.resolve({} if raw is None else raw)[0], slot.base)
        except (PydanticCustomError, ValidationError, BrokenPluginError):
            return field_types(slot.base)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return field_types(model)
    return {}


def _members(annotation: Any) -> tuple[Any, ...]:
    inner = bare(annotation)
    return get_args(inner) if get_origin(inner) in (Union, UnionType) else (annotation,)


def _get(raw: Any, part: str | int) -> Any:
    if isinstance(raw, Mapping):
        return raw.get(part)
    if isinstance(raw, list) and isinstance(part, int) and part < len(raw):
        return raw[part]
    return None
