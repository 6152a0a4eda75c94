"""Finds components by name: built-ins and plugins alike register through entry points.

A group of entry points is a kind of component (`zoo.rewards`, ...). Listing names imports nothing
but the package metadata, so `zoo list` needs no torch; a plugin that cannot be imported is
reported by name when it is asked for, and stops nothing else.
"""

import configparser
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from operator import attrgetter
from typing import Any

import entrypoints

from zoo import API_VERSION
from zoo.errors import UserError, one_line, suggest

SINGULAR = {
    "policies": "policy",
    "samplers": "sampler",
    "solvers": "solver",
    "rewards": "reward",
    "objectives": "objective",
    "trackers": "tracker",
}
"""Each kind of component, with the word for one of it."""

KINDS = tuple(SINGULAR)

PLUGINS = {
    "zoo-geneval": ("rewards", ("geneval",)),
    "zoo-human": ("rewards", ("human",)),
    "zoo-image-reward": ("rewards", ("image_reward_package",)),
    "zoo-ocr": ("rewards", ("ocr",)),
    "zoo-torchdiffeq": (
        "solvers",
        (
            "adaptive_heun",
            "bosh3",
            "dopri5",
            "dopri8",
            "explicit_adams",
            "fehlberg2",
            "fixed_adams",
            "heun2",
            "heun3",
            "implicit_adams",
            "midpoint",
            "rk4",
            "scipy_solver",
        ),
    ),
    "zoo-unified-reward": ("rewards", ("unified_reward", "vlm_judge")),
}
"""This project's plugins, which are installed apart: the kind and the names that each registers."""

_FOREIGN = frozenset({"zoo-image-reward"})
"""Those of them that need an environment of their own."""


class UnknownComponentError(UserError):
    """The name is not that of one installed component: nothing registers it, or two packages do."""


class BrokenPluginError(UserError):
    """A registered component cannot be loaded, or is not written as components must be."""


@dataclass(frozen=True)
class Entry:
    """One registered component, not yet imported."""

    kind: str
    name: str
    target: str
    package: str
    version: str


@cache
def entries(kind: str) -> tuple[Entry, ...]:
    """Everything registered of a kind, by name and then package.

    Raises:
        UnknownComponentError: there is no such kind.
        BrokenPluginError: a package's entry points cannot be read.
    """
    if kind not in KINDS:
        raise UnknownComponentError(f"unknown kind '{kind}'{suggest(kind, KINDS, 'allowed')}")
    try:
        points = entrypoints.get_group_all(f"zoo.{kind}")
    except configparser.Error as error:
        raise BrokenPluginError(
            f"the entry points of an installed package cannot be read: {one_line(error)}; "
            "reinstall or remove that package"
        ) from error
    distinct: dict[tuple[str, str], Entry] = {}
    for point in points:
        package = _normal(point.distro.name) if point.distro else "unknown"
        version = _version(point.distro) if point.distro else ""
        target = f"{point.module_name}:{point.object_name or ''}"
        entry = Entry(kind, point.name, target, package, version)
        # A distribution that is found twice on sys.path is imported from the first place.
        distinct.setdefault((point.name, package), entry)
    return tuple(sorted(distinct.values(), key=attrgetter("name", "package")))


def find(kind: str, name: str) -> Entry:
    """The entry of a name; `package:name` picks one where several packages register it.

    Raises:
        UnknownComponentError: no installed package registers it, or several do.
    """
    package, _, short = name.rpartition(":")
    claims = [entry for entry in entries(kind) if entry.name == short]
    chosen = [entry for entry in claims if not package or entry.package == _normal(package)]
    if len(chosen) == 1:
        return chosen[0]
    what = SINGULAR[kind]
    packages = [entry.package for entry in claims]
    if chosen:
        ways = " or ".join(f"'{owner}:{short}'" for owner in packages)
        raise UnknownComponentError(
            f"the {what} '{short}' is registered by {len(claims)} packages "
            f"({', '.join(packages)}); write {ways}, or uninstall all but one"
        )
    if claims:
        raise UnknownComponentError(
            f"the {what} '{short}' is not registered by the package '{package}'"
            f"{suggest(package, packages, 'it is registered by')}"
        )
    raise UnknownComponentError(_unknown(kind, name))


def load(kind: str, name: str) -> type[Any]:
    """The class that is registered under a name.

    Raises:
        UnknownComponentError: the name is not that of one installed component.
        BrokenPluginError: it cannot be imported, is no class, or is written against another
            version of the interfaces.
    """
    entry = find(kind, name)
    who = f"the {SINGULAR[kind]} '{entry.name}' of package {entry.package} {entry.version}".strip()
    module, _, path = entry.target.partition(":")
    try:
        top = import_module(module.partition(".")[0])
        _require_version(getattr(top, "ZOO_API_VERSION", API_VERSION), who)
        component = attrgetter(path)(import_module(module)) if path else None
    except BrokenPluginError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokenPluginError(
            f"{who} cannot be imported: {one_line(error)}; "
            f"repair or uninstall {entry.package} (try: python -c 'import {module}')"
        ) from error
    if not isinstance(component, type):
        raise BrokenPluginError(
            f"{who} is not a class: its entry point is '{entry.target}', "
            "which must have the form 'package.module:Class'"
        )
    _require_version(getattr(component, "ZOO_API_VERSION", API_VERSION), who)
    return component


def apart(kind: str, name: str) -> str | None:
    """The plugin of this project that registers a name, installed or not; None if none does."""
    package, _, short = name.rpartition(":")
    for owner, registers in PLUGINS.items():
        if package in ("", owner) and kind == registers[0] and short in registers[1]:
            return owner
    return None


def _unknown(kind: str, name: str) -> str:
    what, owner = SINGULAR[kind], apart(kind, name)
    if owner is None:
        names = sorted({entry.name for entry in entries(kind)})
        return (
            f"unknown {what} '{name}'{suggest(name, names, 'installed')} (zoo list {kind}); "
            "a new entry point is seen only after `pip install -e .` is repeated"
        )
    install = f"pip install -e plugins/{owner}"
    if owner in _FOREIGN:
        install = f"zoo env create plugins/{owner}, then isolate: {{python: ...}} beside the name"
    return (
        f"the {what} '{name}' is of the plugin {owner}, which is not installed; "
        f"in a clone of zoo: {install}"
    )


def _require_version(declared: object, who: str) -> None:
    if declared != API_VERSION:
        raise BrokenPluginError(
            f"{who} is written for version {declared} of zoo's interfaces and this zoo has "
            f"version {API_VERSION}; install the release of the plugin that fits"
        )


def _version(distro: entrypoints.Distribution) -> str:
    """The version; `entrypoints` finds none in the build folder of an editable install."""
    try:
        return distro.version or metadata.version(distro.name)
    except metadata.PackageNotFoundError:
        return ""


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def packages() -> dict[str, str]:
    """The version of every package that registers something."""
    return {entry.package: entry.version for kind in KINDS for entry in entries(kind)}
