"""A JSON schema of recipes, with all that is installed: what an editor checks and completes by.

Draft 7, which the editors' YAML plugins know best. Where a recipe names a component, its name
chooses the schema of its options. A recipe that extends another may leave out whatever is required,
so a file with `extends` is held to a second copy of everything, in which nothing is.
"""

import inspect
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from zoo import registry
from zoo.policy.base import Policy
from zoo.recipe.component import Named
from zoo.recipe.constructor_schema import Slot, options_model
from zoo.recipe.model import CHANGEABLE, CHANGEABLE_OPTIM, RecipeSections
from zoo.recipe.signature import kind_of, where
from zoo.registry import SINGULAR, BrokenPluginError, Entry

_STAGE = "recipe StageEntry"
_REF = "#/definitions/"
_SLOT = "x-zoo-slot"
"""Marks where a component is named, until the schema of its kind is put there."""
_UNNAMED = {"not": {"required": ["name"]}}
_ISOLATED = "isolate"
"""The key of a reward that is installed in another Python, where this one cannot look."""


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe file; broken components are left out."""
    built = _Definitions()
    top = _ref(built.model(RecipeSections, "recipe"))
    whole = built.definitions
    partial = {_partial_name(name): _without_requirements(schema) for name, schema in whole.items()}
    partial[_partial_name("recipe")]["properties"]["extends"] = {
        "type": "string",
        "description": "Another recipe, relative to this file, that this one changes.",
    }
    definitions = whole | partial
    # One for both kinds of files: a list is never merged with another.
    definitions[_STAGE] = _stage(partial)
    for name in ("recipe", _partial_name("recipe")):
        # Not as null or a list: an editor would say no more than that it is neither.
        definitions[name]["properties"]["stages"] |= {
            "type": ["array", "null"], "items": _ref(_STAGE), "minItems": 1
        }  # fmt: skip
        del definitions[name]["properties"]["stages"]["anyOf"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A recipe of zoo",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": _ref(_partial_name("recipe")),
        "else": top,
        "definitions": definitions,
    }


def _stage(partial: dict[str, Any]) -> dict[str, Any]:
    """What a stage may say: its own keys, and of others parts of those that it may change."""
    own, sections = partial[_partial_name(_STAGE)], partial[_partial_name("recipe")]["properties"]
    optim = partial[_partial_name("recipe Optim")]
    some = {key: optim["properties"][key] for key in CHANGEABLE_OPTIM}
    return {
        **own,
        "properties": {
            **own["properties"],
            **{key: sections[key] for key in CHANGEABLE},
            "optim": {**optim, "properties": some},
            "policy": _size(),
        },
        "required": ["epochs"],
        "additionalProperties": False,
    }


def _size() -> dict[str, Any]:
    """What a stage may say of the policy: how large its images are, where that can be asked."""
    slot = Slot(Policy)
    sizes: dict[str, Any] = {key: {} for _, cls in _fitting(slot) for key in cls.sizes}
    return {
        "type": "object",
        "description": "The size of images, for policies that can be asked for others.",
        "properties": sizes,
        "additionalProperties": False,
    }


class _Generator(GenerateJsonSchema):
    """Pydantic's, which notes where components are named."""

    def __init__(self, by_alias: bool = True, ref_template: str = _REF + "{model}") -> None:
        """As pydantic makes it."""
        super().__init__(by_alias=by_alias, ref_template=ref_template)
        self.slots: dict[str, Slot] = {}

    def function_plain_schema(
        self, schema: core_schema.PlainValidatorFunctionSchema
    ) -> dict[str, Any]:
        """A mark that `_Definitions` replaces."""
        slot: Slot = schema["metadata"]["slot"]
        name = f"{where(slot.interface)} {slot.base.__name__} {slot.default_name or ''}".strip()
        self.slots[name] = slot
        return {_SLOT: name}


class _Definitions:
    """The definitions so far, by name."""

    def __init__(self) -> None:
        """None."""
        self.definitions: dict[str, Any] = {}

    def model(self, model: type[BaseModel], name: str) -> str:
        """Defines a model, with all that it holds; returns `name`."""
        generator = _Generator()
        # Taken before it is filled: a solver may hold solvers.
        self.definitions[name] = {}
        schema = generator.generate(model.__pydantic_core_schema__)
        inner = schema.pop("$defs", {})
        renamed = {key: f"{name} {key}" for key in inner}
        for key, part in (*inner.items(), (None, schema)):
            owner = name if key is None else renamed[key]
            self.definitions[owner] = _draft_7(part, renamed)
        for key, slot in generator.slots.items():
            if key not in self.definitions:
                self._slot(key, slot)
        return name

    def _slot(self, key: str, slot: Slot) -> None:
        definition: dict[str, Any] = {"type": "object"}
        self.definitions[key] = definition
        components = _fitting(slot)
        branches, names = [], []
        for entry, cls in components:
            alone = sum(entry.name == other.name for other, _ in components) == 1
            called = [*([entry.name] if alone else []), f"{entry.package}:{entry.name}"]
            model = options_model(cls, slot.base)
            options = self.model(model, f"{key} {entry.package}:{entry.name}")
            self.definitions[options]["description"] = _description(cls)
            # The name is the slot's to require.
            self.definitions[options]["required"].remove("name")
            names += called
            branches.append(_if_named(called, options))
            if slot.default_name in called:
                branches.append({"if": _UNNAMED, "then": _ref(options)})
        what = SINGULAR[slot.kind]
        named = {
            "type": "string",
            "description": f"A {what} (zoo list {slot.kind}).",
            "enum": names,
        }
        installed = {"properties": {"name": named}, "allOf": branches}
        definition["description"] = f"A {what} by its name, with its options."
        definition["required"] = [] if slot.default_name else ["name"]
        if _ISOLATED in slot.base.model_fields:
            definition |= self._allow_isolated(key, slot.base, installed)
        else:
            definition |= installed

    def _allow_isolated(
        self, key: str, base: type[Named], installed: dict[str, Any]
    ) -> dict[str, Any]:
        """What is in another Python has the recipe's own keys, and others that only it knows."""
        open_name = self.model(base, f"{key} isolated")
        self.definitions[open_name]["additionalProperties"] = True
        elsewhere = {"properties": {_ISOLATED: {"type": "object"}}, "required": [_ISOLATED]}
        return {"if": elsewhere, "then": _ref(open_name), "else": installed}


def _fitting(slot: Slot) -> list[tuple[Entry, type[Any]]]:
    """The installed components that a slot takes."""
    components = []
    for entry in registry.entries(kind_of(slot.interface)):
        try:
            cls = registry.load(entry.kind, f"{entry.package}:{entry.name}")
            options_model(cls, slot.base)
        except BrokenPluginError:
            continue
        if issubclass(cls, slot.interface):
            components.append((entry, cls))
    return components


def _if_named(names: list[str], options: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"name": {"enum": names}}, "required": ["name"]},
        "then": _ref(options),
    }


def _description(cls: type[Any]) -> str:
    """What `zoo describe` says of it."""
    own = inspect.getdoc(cls.__init__) if "__init__" in vars(cls) else None
    return "\n\n".join(filter(None, (inspect.getdoc(cls), own)))


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF + name.replace(" ", "%20")}


def _partial_name(name: str) -> str:
    return f"partial {name}"


def _draft_7(part: Any, renamed: dict[str, str]) -> Any:
    """Pydantic's schema in the words of draft 7, marks and references replaced."""
    if isinstance(part, list):
        return [_draft_7(item, renamed) for item in part]
    if not isinstance(part, dict):
        return part
    if _SLOT in part:
        return _ref(part[_SLOT])
    schema = {key: _draft_7(value, renamed) for key, value in part.items()}
    if "$ref" in part:
        schema |= _ref(renamed[part["$ref"].removeprefix(_REF)])
    if "prefixItems" in schema:
        schema["items"] = schema.pop("prefixItems")
        schema["additionalItems"] = False
    return schema


def _without_requirements(part: Any) -> Any:
    """A copy in which no key is required, and which refers to such copies alone."""
    if isinstance(part, list):
        # What is left unnamed is named in the recipe that is extended.
        return [_without_requirements(item) for item in part if not _is_of_unnamed(item)]
    if not isinstance(part, dict):
        return part
    schema: dict[str, Any] = {}
    for key, value in part.items():
        if key == "properties":
            schema[key] = {name: _without_requirements(inner) for name, inner in value.items()}
        elif key == "$ref":
            schema |= _ref(_partial_name(_name_of(value)))
        elif key != "required":
            # What chooses a branch goes on choosing it.
            schema[key] = value if key == "if" else _without_requirements(value)
    return schema


def _is_of_unnamed(part: Any) -> bool:
    return isinstance(part, dict) and part.get("if") == _UNNAMED


def _name_of(ref: str) -> str:
    return ref.removeprefix(_REF).replace("%20", " ")
