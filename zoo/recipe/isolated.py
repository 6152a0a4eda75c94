"""The class of a reward in another Python, made from what it says of itself.

Its constructor has the options of the reward there, so that a recipe's are validated here, before
anything is started, with the same words as any other's.
"""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, field, is_dataclass, make_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, cast

from annotated_types import Ge, Gt, Le, Lt

from zoo.errors import one_line
from zoo.registry import BrokenPluginError
from zoo.reward.outside.description import Description, OptionSchema, description
from zoo.reward.outside.isolated import IsolatedReward
from zoo.reward.outside.process import WorkerError
from zoo.storage.place import Place

_PLAIN: Mapping[str, Any] = {
    "boolean": bool,
    "integer": int,
    "number": float,
    "string": str,
    "null": None,
}
_LIMITS: Mapping[str, Any] = {
    "minimum": Ge,
    "exclusiveMinimum": Gt,
    "maximum": Le,
    "exclusiveMaximum": Lt,
}


@cache
def isolated_class(python: str, name: str) -> type[IsolatedReward]:
    """A class for the reward that is registered as `name` in the environment of `python`.

    Raises:
        BrokenPluginError: there is none, or it cannot be asked; in one line.
    """
    try:
        described = description(python, name)
    except WorkerError as error:
        raise BrokenPluginError(str(error)) from error
    try:
        return _class(python, name, described)
    # Names that Python cannot have, defaults that are not of their own type.
    except (TypeError, ValueError) as error:
        raise BrokenPluginError(
            f"the Python '{python}' describes '{name}' wrongly: {one_line(error)}; make its "
            "environment anew: zoo env create PLUGIN"
        ) from error


def _class(python: str, name: str, described: Description) -> type[IsolatedReward]:
    options = {key: _annotation(schema) for key, schema in described.options.items()}

    def start(self: Any, device: Any, isolation: Any, /, **values: Any) -> None:
        given = {key: _as_json(value) for key, value in values.items()}
        IsolatedReward.__init__(
            self,
            device,
            python=python,
            name=name,
            options=given,
            start_timeout=isolation.start_timeout,
        )

    given = [
        inspect.Parameter(parameter, inspect.Parameter.POSITIONAL_ONLY)
        for parameter in ("self", "device", "isolation")
    ]
    keywords = [
        inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(options[key], schema),
        )
        for key, schema in described.options.items()
    ]
    start.__signature__ = inspect.Signature([*given, *keywords])  # type: ignore[attr-defined]
    start.__annotations__ = {"device": Any, "isolation": Any, **options}
    start.__doc__ = described.options_doc
    members = {
        "__init__": start,
        "__doc__": described.doc,
        "__module__": f"{described.package} in {python}",
        "groupwise": described.groupwise,
        "takes": described.takes,
    }
    return cast(type[IsolatedReward], type(described.name, (IsolatedReward,), members))


def _annotation(schema: OptionSchema) -> Any:
    """The Python type of a JSON schema as `zoo_reward_worker.options` writes them."""
    if schema.enum:
        return Literal[tuple(schema.enum)]
    if schema.anyOf:
        return Union[tuple(_annotation(member) for member in schema.anyOf)]  # noqa: UP007
    if schema.format == "path":
        return Place
    if schema.items is not None:
        base: Any = list[_annotation(schema.items)]  # type: ignore[misc]
    elif schema.title is not None and schema.properties is not None:
        base = _record(schema.title, schema.properties)
    elif schema.additionalProperties is not None:
        base = dict[str, _annotation(schema.additionalProperties)]  # type: ignore[misc]
    else:
        base = _PLAIN[str(schema.type)]
    limits = [
        mark(limit) for key, mark in _LIMITS.items() if (limit := getattr(schema, key)) is not None
    ]
    return Annotated[(base, *limits)] if limits else base


def _record(title: str, properties: Mapping[str, OptionSchema]) -> type:
    specs: list[Any] = []
    for key, schema in properties.items():
        annotation = _annotation(schema)
        default = _default(annotation, schema)
        if default is inspect.Parameter.empty:
            specs.append((key, annotation))
        else:
            spec = field(default_factory=lambda value=default: value)  # type: ignore[misc]
            specs.append((key, annotation, spec))
    return make_dataclass(title, specs, frozen=True)


def _default(annotation: Any, schema: OptionSchema) -> Any:
    if not schema.has_default:
        return inspect.Parameter.empty
    value: Any = schema.default
    return cast(Any, annotation)(**value) if is_dataclass(annotation) else value


def _as_json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value
