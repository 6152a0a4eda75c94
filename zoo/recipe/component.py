"""A component that a recipe names, validated and not yet constructed; and walks over them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from zoo.errors import join_lines
from zoo.recipe.errors import Loc, RefusedOptionsError
from zoo.recipe.signature import signature, where
from zoo.registry import BrokenPluginError

T = TypeVar("T")


class Strict(BaseModel):
    """A part of a recipe: frozen, no unknown keys, no conversions, finite numbers."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True
    )


class Named(Strict):
    """The options of a component, under its name."""

    name: str


class Record(Strict):
    """The fields of a frozen dataclass, which is made from them."""

    makes: ClassVar[type[Any]]

    @model_validator(mode="after")
    def _can_be_made(self) -> "Record":
        if next(components(self), None) is None:
            try:
                rebuild(self, {})
            except TypeError as error:
                raise ValueError(str(error)) from error
        return self


@dataclass(frozen=True)
class Component(Generic[T]):
    """A component that a recipe names, with its options; not yet constructed."""

    cls: type[T]
    settings: Named

    @property
    def name(self) -> str:
        """The name in the registry, as the recipe says it."""
        return self.settings.name

    @property
    def options(self) -> dict[str, Any]:
        """Every option by name, with the defaults."""
        mine = type(self.settings).model_fields.items()
        return {spec.alias: getattr(self.settings, key) for key, spec in mine if spec.alias}

    def build(self, given: Mapping[str, object], loc: Loc = ()) -> T:
        """Constructs it and the components in its options; `Recipe.build` knows where they stand.

        `given` holds what the run has for positional-only parameters, by name; a constructor gets
        those that it asks for. `loc` is where it is in the component that is built.

        Raises:
            RefusedOptionsError: a constructor refused its options.
            BrokenPluginError: a constructor asks for something that `given` lacks.
        """
        wanted = signature(self.cls)
        lacking = wanted.given.keys() - given.keys() - wanted.optional
        if lacking:
            raise BrokenPluginError(
                f"{where(self.cls)} asks for '{min(lacking)}', which the run does not give it; "
                f"given here: {', '.join(given) or 'nothing'}"
            )
        try:
            arguments = [given[name] for name in takewhile(given.__contains__, wanted.given)]
            return self.cls(*arguments, **rebuild(self.options, given, loc))
        except (ValueError, TypeError) as error:
            raise RefusedOptionsError(
                loc, f"'{self.name}' refuses its options: {join_lines(error)}"
            ) from error

    def dump(self) -> dict[str, Any]:
        """Its name and every option, as a recipe would have them."""
        return self.settings.model_dump(mode="json", by_alias=True)


def components(value: object, loc: Loc = ()) -> Iterator[tuple[Loc, Component[Any]]]:
    """Every component in a recipe or a part of it, outer ones first, with its location."""
    if isinstance(value, Component):
        yield loc, value
        value = value.settings
    for key, inner in _parts(value):
        yield from components(inner, (*loc, key))


def _parts(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, BaseModel):
        for key, spec in type(value).model_fields.items():
            yield spec.alias or key, getattr(value, key)
    elif type(value) in (list, tuple):
        yield from enumerate(value)
    elif isinstance(value, dict):
        yield from value.items()


def rebuild(value: Any, given: Mapping[str, object], loc: Loc = ()) -> Any:
    """A validated option as its constructor annotates it; `loc` as in `Component.build`."""
    if isinstance(value, Component):
        return value.build(given, loc)
    if not isinstance(value, (Record, dict)) and type(value) not in (list, tuple):
        return value
    inner = {key: rebuild(part, given, (*loc, key)) for key, part in _parts(value)}
    if isinstance(value, Record):
        return value.makes(**{str(key): part for key, part in inner.items()})
    return type(value)(inner.values()) if type(value) in (list, tuple) else inner
