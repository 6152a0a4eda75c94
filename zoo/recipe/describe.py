"""A component's options in words: `zoo describe`."""

from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from zoo.recipe.component import Component
from zoo.recipe.constructor_schema import options_model
from zoo.recipe.errors import shown
from zoo.recipe.words import constraint, field_types, plain


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
        said = "required" if spec.is_required() else shown(_written(default))
        options.append(Option(prefix + name, plain(annotation), said, constraint(annotation)))
        members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
        for member in (annotation, *members):
            if isinstance(member, type) and issubclass(member, BaseModel):
                options += _options(member, f"{prefix}{name}.", skip=frozenset())
    return options


def _written(default: Any) -> Any:
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json", by_alias=True)
    if isinstance(default, Component):
        return default.dump()
    return str(default) if isinstance(default, Path) else default
