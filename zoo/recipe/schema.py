"""The constructor is the schema: a component's options are the keyword-only parameters it takes.

Positional-only parameters are given by the run, by name, from a closed set. An option that is
annotated with an interface is a nested `{name: ...}`; frozen dataclasses are nested mappings. From
this a strict pydantic model is built, which validates JSON: pydantic's strict Python mode refuses
str -> Path and list -> tuple, which a YAML file has no other way to write.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from zoo import registry
from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.recipe.errors import Loc, Origins, RecipeError, dotted, shown
from zoo.registry import SINGULAR, BrokenPluginError, UnknownComponentError
from zoo.reward.base import Reward
from zoo.sampler.base import Sampler, Solver

T = TypeVar("T")

INTERFACES: Mapping[type, str] = {
    Policy: "policies",
    Sampler: "samplers",
    Solver: "solvers",
    Reward: "rewards",
    Objective: "objectives",
}
"""Each interface and the kind that its components are registered as."""

GIVEN = ("solver", "device", "dtype", "cache")
"""What a run may give to a constructor: the names that its positional-only parameters can have."""

RESERVED = ("name", "weight", "label", "isolate")
"""Keys of a recipe that belong to the recipe, which no option can have."""

_FORM = "write def __init__(self, device, /, *, option: type = default)"


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
    def _can_be_made(self) -> Self:
        if next(components(self), None) is None:
            try:
                _rebuilt(self, {})
            except TypeError as error:
                raise ValueError(str(error)) from error
        return self


@dataclass(frozen=True)
class Signature:
    """What a constructor takes: given by the run, and options, each with its annotation."""

    given: Mapping[str, Any]
    optional: frozenset[str]
    """Those of `given` that have a default."""
    options: Mapping[str, tuple[Any, Any]]
    """By name, the annotation and the default, or `...` where there is none."""


@dataclass(frozen=True)
class Component(Generic[T]):
    """A component that a recipe names, with its options; not yet constructed."""

    cls: type[T]
    settings: Named
    place: str = field(default="recipe", compare=False)
    """Where the recipe says it."""

    @property
    def name(self) -> str:
        """The name in the registry, as the recipe says it."""
        return self.settings.name

    @property
    def options(self) -> dict[str, Any]:
        """Every option by name, with the defaults."""
        mine = type(self.settings).model_fields.items()
        return {spec.alias: getattr(self.settings, key) for key, spec in mine if spec.alias}

    def build(self, given: Mapping[str, object]) -> T:
        """Constructs it and the components in its options.

        `given` holds what the run has for positional-only parameters, by name; a constructor gets
        those that it asks for.

        Raises:
            RecipeError: a constructor refused its options.
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
            arguments = [given[name] for name in wanted.given if name in given]
            return self.cls(*arguments, **_rebuilt(self.options, given))
        except (ValueError, TypeError) as error:
            said = " ".join(str(error).split())
            raise RecipeError(f"{self.place}: '{self.name}' refuses its options: {said}") from error

    def dump(self) -> dict[str, Any]:
        """Its name and every option, as a recipe would have them."""
        return self.settings.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True)
class Slot:
    """Marks where a recipe names a component: `Annotated[Component[Policy], Slot(Policy)]`."""

    interface: type
    default_name: str | None = None
    base: type[Named] = Named
    """What the recipe itself keeps beside the options, such as a reward's weight."""

    @property
    def kind(self) -> str:
        """The kind that its components are registered as."""
        return kind_of(self.interface)

    def __get_pydantic_core_schema__(self, made: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validates by looking the component up; `made` is the Component class to make."""
        result = cast(type[Component[Any]], get_origin(made) or made)

        def validate(raw: object) -> Component[Any]:
            cls, named = self.resolve(raw)
            model = options_model(cls, self.base)
            return result(cls, model.model_validate_json(json.dumps(named)))

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(Component.dump)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """A mapping with the name of an installed component."""
        names = sorted({entry.name for entry in registry.entries(self.kind)})
        name: dict[str, Any] = {"type": "string", "examples": names}
        required = [] if self.default_name else ["name"]
        return {"type": "object", "properties": {"name": name}, "required": required}

    def resolve(self, raw: object) -> tuple[type[Any], dict[str, Any]]:
        """The class that a recipe's mapping names, and the mapping with its name.

        Raises:
            PydanticCustomError, ValidationError: it names none; the message says what would.
            BrokenPluginError: what it names is broken.
        """
        example = f"{{name: {self.default_name or '...'}}} (zoo list {self.kind})"
        if not isinstance(raw, Mapping):
            raise _mistake(
                f"must be a mapping that names a {SINGULAR[self.kind]}, such as {example}, "
                f"not {shown(raw)}"
            )
        named = {"name": self.default_name, **raw} if self.default_name else dict(raw)
        name = named.get("name")
        if not isinstance(name, str):
            lacks = f"not {shown(name)}" if name is not None else "which is missing"
            raise _mistake(f"needs the name of a {SINGULAR[self.kind]}, {lacks}: {example}")
        try:
            cls = component_class(self.kind, name)
        except UnknownComponentError as error:
            raise _at_name(_mistake(str(error), kind="unknown_component"), name) from None
        if not issubclass(cls, self.interface):
            fit = ", ".join(fitting(self.interface))
            raise _at_name(
                _mistake(f"'{name}' is not a {self.interface.__name__}; allowed: {fit}"), name
            )
        return cls, named


def component_class(kind: str, name: str) -> type[Any]:
    """The registered class, which implements the interface of its kind.

    Raises:
        UnknownComponentError: the name is not that of one installed component.
        BrokenPluginError: it cannot be loaded or does not implement the interface.
    """
    cls = registry.load(kind, name)
    interface = next(interface for interface, its in INTERFACES.items() if its == kind)
    if not issubclass(cls, interface):
        raise BrokenPluginError(
            f"the {SINGULAR[kind]} '{name}' is {where(cls)}, which is not a subclass of "
            f"{where(interface)}; it must be"
        )
    return cls


def fitting(interface: type) -> list[str]:
    """The names of the installed components that implement an interface; broken ones left out."""
    names = []
    for entry in registry.entries(kind_of(interface)):
        try:
            if issubclass(registry.load(entry.kind, f"{entry.package}:{entry.name}"), interface):
                names.append(entry.name)
        except BrokenPluginError:
            continue
    return names


def kind_of(cls: type) -> str:
    """The kind of a component class or interface."""
    return next(kind for interface, kind in INTERFACES.items() if issubclass(cls, interface))


def where(cls: type) -> str:
    """A class by its full name."""
    return f"{cls.__module__}.{cls.__qualname__}"


@cache
def signature(cls: type) -> Signature:
    """Reads a component's constructor.

    Raises:
        BrokenPluginError: it is not written as a component's must be.
    """
    given: dict[str, Any] = {}
    optional: set[str] = set()
    options: dict[str, tuple[Any, Any]] = {}
    # A class without a constructor of its own takes nothing.
    if cls.__init__ is object.__init__:
        return Signature(given, frozenset(), options)
    hints = _hints(cls.__init__, cls)
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        name, has_default = parameter.name, parameter.default is not parameter.empty
        if parameter.kind is parameter.POSITIONAL_ONLY:
            _require(name in GIVEN, cls, f"asks for '{name}'; a run gives {', '.join(GIVEN)}")
            given[name] = hints.get(name, Any)
            optional |= {name} if has_default else set()
            continue
        _require(
            parameter.kind is parameter.KEYWORD_ONLY,
            cls,
            f"takes '{parameter}'; options are keyword-only and named one by one: {_FORM}",
        )
        _require(name in hints, cls, f"has an option '{name}' without a type; annotate it")
        _require(name not in RESERVED, cls, f"has an option '{name}', which is reserved; rename it")
        options[name] = (hints[name], parameter.default if has_default else ...)
    return Signature(given, frozenset(optional), options)


@cache
def options_model(cls: type, base: type[Named] = Named) -> type[Named]:
    """The strict pydantic model of a component's options.

    Raises:
        BrokenPluginError: the constructor is not written as a component's must be, or an option
            has a type that a recipe cannot express.
    """
    return _model(cls, base, signature(cls).options)


def components(value: object, loc: Loc = ()) -> Iterator[tuple[Loc, Component[Any]]]:
    """Every component in a recipe or a part of it, outer ones first, with its location."""
    if isinstance(value, Component):
        yield loc, value
        value = value.settings
    for key, inner in _parts(value):
        yield from components(inner, (*loc, key))


def placed(value: T, origins: Origins, loc: Loc = ()) -> T:
    """The same recipe or part of one, its components knowing where they were written."""
    if isinstance(value, Component):
        place = f"{origins.at(loc)}: {dotted(loc)}"
        settings = placed(value.settings, origins, loc)
        return cast(T, replace(value, settings=settings, place=place))
    inner = {key: placed(part, origins, (*loc, key)) for key, part in _parts(value)}
    if isinstance(value, BaseModel):
        specs = type(value).model_fields.items()
        update = {field_: inner[spec.alias or field_] for field_, spec in specs}
        return cast(T, value.model_copy(update=update))
    if isinstance(value, list | tuple):
        return cast(T, type(value)(inner.values()))
    return cast(T, inner) if isinstance(value, dict) else value


def _parts(value: object) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, BaseModel):
        for key, spec in type(value).model_fields.items():
            yield spec.alias or key, getattr(value, key)
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif isinstance(value, dict):
        yield from value.items()


def _rebuilt(value: Any, given: Mapping[str, object]) -> Any:
    """A validated option as its constructor annotates it."""
    if isinstance(value, Component):
        return value.build(given)
    if isinstance(value, Record):
        return value.makes(**{key: _rebuilt(part, given) for key, part in _parts(value)})
    if isinstance(value, list | tuple):
        return type(value)(_rebuilt(item, given) for item in value)
    if isinstance(value, dict):
        return {key: _rebuilt(item, given) for key, item in value.items()}
    return value


def _model(cls: type, base: type[Any], options: Mapping[str, tuple[Any, Any]]) -> type[Any]:
    """Fields are prefixed and go by alias, so that an option may be called `copy` or `schema`."""
    specs: dict[str, Any] = {}
    for name, (annotation, default) in options.items():
        declared = _declared(annotation)
        try:
            TypeAdapter(declared, config=Strict.model_config if _configurable(declared) else None)
        except PydanticUserError as error:
            raise BrokenPluginError(
                f"{where(cls)} has an option '{name}' of a type that a recipe cannot write "
                f"({inspect.formatannotation(annotation)}); use numbers, text, bool, Path, Literal, "
                "lists of them, an interface or a frozen dataclass"
            ) from error
        specs[f"option_{name}"] = (declared, Field(_encoded(cls, name, default), alias=name))
    return create_model(cls.__name__, __base__=base, __doc__=inspect.getdoc(cls), **specs)


def _configurable(declared: Any) -> bool:
    return not (isinstance(declared, type) and issubclass(declared, BaseModel))


@cache
def _record(cls: type) -> type[Record]:
    frozen = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    _require(frozen, cls, "is an option's type and not frozen; write @dataclass(frozen=True)")
    hints = _hints(cls, cls)
    options: dict[str, tuple[Any, Any]] = {}
    for spec in fields(cls):
        if spec.init:
            made = ... if spec.default_factory is MISSING else spec.default_factory()
            default = made if spec.default is MISSING else spec.default
            options[spec.name] = (hints[spec.name], default)
    model: type[Record] = _model(cls, Record, options)
    model.makes = cls
    return model


def _declared(annotation: Any) -> Any:
    """A constructor's annotation as the model has it: interfaces -> components, dataclasses."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    bare = origin or annotation
    if isinstance(bare, type) and issubclass(bare, tuple(INTERFACES)):
        return Annotated[Component, Slot(bare)]
    if isinstance(bare, type) and is_dataclass(bare) and bare is not Component:
        return _record(bare)
    if origin is Annotated:
        return Annotated[(_declared(arguments[0]), *arguments[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(_declared(argument) for argument in arguments)]  # noqa: UP007
    if isinstance(origin, type) and arguments:
        inner = tuple(a if a is ... else _declared(a) for a in arguments)
        return cast(Any, origin)[inner]
    return NoneType if annotation is None else annotation


def _encoded(cls: type, option: str, default: Any) -> Any:
    """A default as the model holds it."""
    wrong = isinstance(default, tuple(INTERFACES))
    _require(not wrong, cls, f"has a component as the default of '{option}'; use None or no default")
    if is_dataclass(default) and not isinstance(default, type):
        values = {
            f"option_{spec.name}": _encoded(cls, option, getattr(default, spec.name))
            for spec in fields(default)
            if spec.init
        }
        return _record(type(default)).model_construct(**values)
    if type(default) in (list, tuple):
        return type(default)(_encoded(cls, option, item) for item in default)
    return default


def _hints(annotated: Any, cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError) as error:
        raise BrokenPluginError(
            f"the annotations of {where(cls)} cannot be read: {error}; "
            "import what they name at the top of its module"
        ) from error


def _require(holds: bool, cls: type, message: str) -> None:
    if not holds:
        raise BrokenPluginError(f"{where(cls)} {message}")


def _mistake(message: str, kind: str = "mistake") -> PydanticCustomError:
    # The message goes in as a value: a template of pydantic's would read the braces in it.
    return PydanticCustomError(kind, "{message}", {"message": message})


def _at_name(error: PydanticCustomError, name: str) -> ValidationError:
    details = InitErrorDetails(type=error, loc=("name",), input=name)
    return ValidationError.from_exception_data("component", [details])
