"""A component's options and documentation, in words: `zoo describe`."""

import inspect
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from zoo.recipe.component import Component
from zoo.recipe.constructor_schema import Slot, options_model
from zoo.recipe.errors import shown
from zoo.registry import SINGULAR

_ONE: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    NoneType: "null",
}

_MANY: Mapping[Any, str] = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}


def describe_type(annotation: Any) -> str:
    """What is allowed, in words: `a number > 0`, `'sum' or 'gdpo'`."""
    limits = constraint(annotation)
    return f"{plain(annotation)} {limits}" if limits else plain(annotation)


def plain(annotation: Any) -> str:
    """A type in words, without the constraints at its top."""
    slot, annotation = slot_of(annotation), bare(annotation)
    if slot:
        return f"a mapping that names a {SINGULAR[slot.kind]}"
    if annotation in _ONE:
        return _ONE[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _either([shown(value) for value in arguments])
    if origin in (Union, UnionType):
        return _either([describe_type(argument) for argument in arguments])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    if origin is tuple and arguments[-1:] != (...,):
        items = [describe_type(argument) for argument in arguments]
        same = len(set(items)) == 1
        inner = _many(arguments[0]) if same else f"items: {', '.join(items)}"
        return f"a list of {len(items)} {inner}"
    if isinstance(origin, type) and arguments:
        return f"a list of {_many(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _either([shown(member.value) for member in annotation])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a mapping of {', '.join(field_types(annotation))}"
    return "anything" if annotation is Any else inspect.formatannotation(annotation)


def constraint(annotation: Any) -> str:
    """The constraints at the top of an annotation: `>= 0 and < 1`."""
    limits: list[str] = []
    for mark in _marks(annotation):
        if isinstance(mark, annotated_types.GroupedMetadata):
            limits += filter(None, map(_limit, mark))
        else:
            limits += filter(None, [_limit(mark)])
    return " and ".join(limits)


def slot_of(annotation: Any) -> Slot | None:
    """The slot, if it is a component that is annotated."""
    return next((mark for mark in _marks(annotation) if isinstance(mark, Slot)), None)


def bare(annotation: Any) -> Any:
    """The annotation without Annotated."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def field_types(model: type[BaseModel]) -> dict[str, Any]:
    """The keys that a recipe may write, each with its annotation."""
    return {spec.alias or key: _annotation(spec) for key, spec in model.model_fields.items()}


def _annotation(spec: FieldInfo) -> Any:
    return Annotated[(spec.annotation, *spec.metadata)] if spec.metadata else spec.annotation


def _marks(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _limit(mark: Any) -> str:
    match mark:
        case annotated_types.Gt(gt=limit):
            return f"> {limit}"
        case annotated_types.Ge(ge=limit):
            return f">= {limit}"
        case annotated_types.Lt(lt=limit):
            return f"< {limit}"
        case annotated_types.Le(le=limit):
            return f"<= {limit}"
        case annotated_types.MultipleOf(multiple_of=step):
            return f"in steps of {step}"
        case annotated_types.MinLen(min_length=size):
            return f"at least {size} long" if size else ""
        case annotated_types.MaxLen(max_length=size):
            return f"at most {size} long"
    return ""


def _many(annotation: Any) -> str:
    slot, limits = slot_of(annotation), constraint(annotation)
    if slot:
        return slot.kind
    words = _MANY.get(bare(annotation)) or f"items, each {plain(annotation)}"
    return f"{words} {limits}".strip()


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


class Option(NamedTuple):
    """One option of a component, in words; a nested one is named `lora.rank`."""

    name: str
    type: str
    default: str
    """As a recipe would have it, or 'required'."""
    constraint: str


def describe(cls: type) -> list[Option]:
    """The options of a component class, in the order of its constructor."""
    return _options(options_model(cls), "", skip=frozenset({"name"}))


def _options(model: type[BaseModel], prefix: str, skip: frozenset[str]) -> list[Option]:
    options: list[Option] = []
    annotations = field_types(model)
    for key, spec in model.model_fields.items():
        name = spec.alias or key
        if name in skip:
            continue
        annotation = annotations[name]
        default = spec.get_default(call_default_factory=True, validated_data={})
        value = "required" if spec.is_required() else shown(_as_written(default))
        options.append(Option(prefix + name, plain(annotation), value, constraint(annotation)))
        members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
        for member in (annotation, *members):
            if isinstance(member, type) and issubclass(member, BaseModel):
                options += _options(member, f"{prefix}{name}.", skip=frozenset())
    return options


def _as_written(default: Any) -> Any:
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json", by_alias=True)
    if isinstance(default, Component):
        return default.dump()
    return str(default) if isinstance(default, Path) else default
