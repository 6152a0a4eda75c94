"""The constructor is the schema: from a signature, the strict pydantic model of the options.

An option that is annotated with an interface is a nested `{name: ...}`; frozen dataclasses are
nested mappings. The models validate JSON: pydantic's strict Python mode refuses str -> Path and
list -> tuple, which a YAML file has no other way to write.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import (
    CoreSchema,
    InitErrorDetails,
    PydanticCustomError,
    PydanticSerializationError,
    core_schema,
)

from zoo import registry
from zoo.recipe.component import Component, Named, Record
from zoo.recipe.errors import shown
from zoo.recipe.signature import INTERFACES, hints_of, kind_of, require, signature, where
from zoo.registry import SINGULAR, BrokenPluginError, UnknownComponentError
from zoo.storage.expand import expand_path


@dataclass(frozen=True)
class Slot:
    """Marks where a recipe names a component: `Annotated[Component[Policy], Slot(Policy)]`."""

    interface: type
    default_name: str | None = None
    base: type[Named] = Named
    """What the recipe itself keeps beside the options, such as a reward's weight."""
    find: Callable[[str, Mapping[str, Any]], type[Any]] | None = None
    """The class of a name, given all that the recipe says; without it, the installed one."""

    @property
    def kind(self) -> str:
        """The kind that its components are registered as."""
        return kind_of(self.interface)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validates by looking the component up; `source` is the Component class to make."""
        result = cast(type[Component[Any]], get_origin(source) or source)

        def validate(raw: object) -> Component[Any]:
            cls, named = self.resolve(raw)
            model = options_model(cls, self.base)
            return result(cls, model.model_validate_json(json.dumps(named)))

        return core_schema.no_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(Component.dump),
            metadata={"slot": self},
        )

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
            cls = self.find(name, named) if self.find else component_class(self.kind, name)
        except UnknownComponentError as error:
            raise _at_name(_mistake(str(error), kind="unknown_component"), name) from None
        except BrokenPluginError as error:
            raise _at_name(_mistake(str(error), kind="unknown_component"), name) from error
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


def options_model(cls: type, base: type[Named] = Named) -> type[Named]:
    """The strict pydantic model of a component's options.

    Raises:
        BrokenPluginError: the constructor is not written as a component's must be, or an option
            has a type that a recipe cannot express.
    """
    # One model for one class, so that equal recipes have options of equal types.
    return cast(type[Named], _options_model(cast(Any, cls), base))


@cache
def _options_model(cls: Any, base: Any) -> Any:
    return _model(cls, base, signature(cls).options)


def _model(cls: type, base: type[Any], options: Mapping[str, tuple[Any, Any]]) -> type[Any]:
    """Fields are prefixed and go by alias, so that an option may be called `copy` or `schema`."""
    specs: dict[str, Any] = {}
    for name, (annotation, default) in options.items():
        is_record = is_dataclass(default) and not isinstance(default, type)
        # Keys left out of a nested mapping have the values that the option's own default has.
        records = {type(default): _record_like(type(default), default)} if is_record else {}
        declared = _declare(annotation, records)
        try:
            adapter = TypeAdapter[Any](declared)
        except PydanticUserError as error:
            raise BrokenPluginError(
                f"{where(cls)} has an option '{name}' of a type that a recipe cannot write "
                f"({inspect.formatannotation(annotation)}); use numbers, text, bool, Path, "
                "Literal, lists of them, an interface or a frozen dataclass"
            ) from error
        wrong = isinstance(default, tuple(INTERFACES))
        require(not wrong, cls, f"has a component as the default of '{name}'; use None or nothing")
        held = records[type(default)].model_construct() if is_record else _encode(default)
        if default is not ...:
            held = _round_trip(adapter, held, cls, name)
        specs[f"option_{name}"] = (declared, Field(held, alias=name))
    return create_model(cls.__name__, __base__=base, __doc__=inspect.getdoc(cls), **specs)


def _round_trip(adapter: Any, default: Any, cls: type, name: str) -> Any:
    """The default as it is when a resolved recipe is read again."""
    try:
        text = adapter.dump_json(default, by_alias=True, warnings="none")
        return adapter.validate_json(text)
    except (ValidationError, PydanticSerializationError) as error:
        raise BrokenPluginError(
            f"{where(cls)} has an option '{name}' whose default {default!r} is not of its own type "
            "or cannot be written in a recipe; correct the annotation or the default"
        ) from error


@cache
def _record(cls: type) -> type[Record]:
    return _record_like(cls, None)


def _record_like(cls: type, example: Any) -> type[Record]:
    """The model of a frozen dataclass, with the values of an example for defaults."""
    frozen = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    require(frozen, cls, "is an option's type and not frozen; write @dataclass(frozen=True)")
    hints = hints_of(cls, cls)
    options: dict[str, tuple[Any, Any]] = {}
    for spec in (spec for spec in fields(cls) if spec.init):
        built = ... if spec.default_factory is MISSING else spec.default_factory()
        default = built if spec.default is MISSING else spec.default
        value = default if example is None else getattr(example, spec.name)
        options[spec.name] = (hints[spec.name], value)
    model: type[Record] = _model(cls, Record, options)
    model.makes = cls
    return model


def _declare(annotation: Any, records: Mapping[type, type[Record]]) -> Any:
    """A constructor's annotation as the model has it: components for interfaces, and records."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    bare = origin or annotation
    if isinstance(bare, type) and issubclass(bare, tuple(INTERFACES)):
        return Annotated[Component, Slot(bare)]
    if isinstance(bare, type) and is_dataclass(bare):
        return records.get(bare) or _record(bare)
    if bare is Path:
        return Annotated[Path, AfterValidator(expand_path)]
    if origin is Annotated:
        return Annotated[(_declare(arguments[0], records), *arguments[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(_declare(argument, records) for argument in arguments)]  # noqa: UP007
    if isinstance(origin, type) and arguments:
        inner = tuple(a if a is ... else _declare(a, records) for a in arguments)
        return cast(Any, origin)[inner]
    return NoneType if annotation is None else annotation


def _encode(default: Any) -> Any:
    """A default as the model holds it: the dataclasses in a list are records."""
    if is_dataclass(default) and not isinstance(default, type):
        own = (spec.name for spec in fields(default) if spec.init)
        values = {f"option_{name}": _encode(getattr(default, name)) for name in own}
        return _record(type(default)).model_construct(**values)
    if type(default) in (list, tuple):
        return type(default)(map(_encode, default))
    return default


def _mistake(message: str, kind: str = "mistake") -> PydanticCustomError:
    # The message goes in as a value: a template of pydantic's would read the braces in it.
    return PydanticCustomError(kind, "{message}", {"message": message})


def _at_name(error: PydanticCustomError, name: str) -> ValidationError:
    details = InitErrorDetails(type=error, loc=("name",), input=name)
    return ValidationError.from_exception_data("component", [details])
