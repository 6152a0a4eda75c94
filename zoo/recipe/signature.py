"""What a component's constructor takes.

Positional-only parameters are given by the run, by name, from a closed set; keyword-only ones are
the recipe's options. Nothing else is allowed, so that a signature says everything.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_type_hints

from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.registry import BrokenPluginError
from zoo.reward.base import Reward
from zoo.sampler.base import ImageSource, Solver
from zoo.tracker.base import ExperimentTracker

INTERFACES: Mapping[type, str] = {
    Policy: "policies",
    ImageSource: "samplers",
    Solver: "solvers",
    Reward: "rewards",
    Objective: "objectives",
    ExperimentTracker: "trackers",
}
"""Each interface and the kind that its components are registered as."""

GIVEN = ("solver", "device", "dtype", "cache", "isolation")
"""What a run may give to a constructor: the names that its positional-only parameters can have."""

RESERVED = ("name", "weight", "label", "isolate")
"""Keys of a recipe that belong to the recipe, which no option can have; `frames` of no reward."""

_FORM = "write def __init__(self, device, /, *, option: type = default)"


@dataclass(frozen=True)
class Signature:
    """What a constructor takes: given by the run, and options, each with its annotation."""

    given: Mapping[str, Any]
    optional: frozenset[str]
    """Those of `given` that have a default."""
    options: Mapping[str, tuple[Any, Any]]
    """By name, the annotation and the default, or `...` where there is none."""


def signature(cls: type) -> Signature:
    """Reads a component's constructor.

    Raises:
        BrokenPluginError: it is not written as a component's must be.
    """
    given: dict[str, Any] = {}
    optional: set[str] = set()
    options: dict[str, tuple[Any, Any]] = {}
    constructor: Any = cast(Any, cls).__init__
    # A class without a constructor of its own takes nothing.
    if constructor is object.__init__:
        return Signature(given, frozenset(), options)
    hints = hints_of(constructor, cls)
    for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
        name, has_default = parameter.name, parameter.default is not parameter.empty
        if parameter.kind is parameter.POSITIONAL_ONLY:
            require(name in GIVEN, cls, f"asks for '{name}'; a run gives {', '.join(GIVEN)}")
            given[name] = hints.get(name, Any)
            optional |= {name} if has_default else set()
            continue
        require(
            parameter.kind is parameter.KEYWORD_ONLY,
            cls,
            f"takes '{parameter}'; options are keyword-only and named one by one: {_FORM}",
        )
        require(name in hints, cls, f"has an option '{name}' without a type; annotate it")
        reserved = name in RESERVED or (name == "frames" and issubclass(cls, Reward))
        require(not reserved, cls, f"has an option '{name}', which is reserved; rename it")
        options[name] = (hints[name], parameter.default if has_default else ...)
    return Signature(given, frozenset(optional), options)


def kind_of(cls: type) -> str:
    """The kind of a component class or interface."""
    return next(kind for interface, kind in INTERFACES.items() if issubclass(cls, interface))


def where(cls: type) -> str:
    """A class by its full name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def hints_of(annotated: Any, cls: type) -> dict[str, Any]:
    """The annotations of a function or class, evaluated, with their constraints."""
    try:
        return get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError) as error:
        raise BrokenPluginError(
            f"the annotations of {where(cls)} cannot be read: {error}; "
            "import what they name at the top of its module"
        ) from error


def require(holds: bool, cls: type, message: str) -> None:
    """Refuses a class of a plugin that is not written as it must be."""
    if not holds:
        raise BrokenPluginError(f"{where(cls)} {message}")
