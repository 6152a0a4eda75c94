"""Finds a reward among the entry points of this environment."""

import sys
from importlib import import_module, metadata
from typing import Any

from zoo_reward_worker.failure import first_line
from zoo_reward_worker.native import is_native
from zoo_reward_worker.reward import Reward

GROUP = "zoo.rewards"


class NotFoundError(Exception):
    """No reward of that name can be had here; the message says why in a line."""


def find(name: str) -> tuple[type[Any], str]:
    """The class that is registered under a name, and the package with its version.

    `package:name` picks one where several packages register it. The class is a Reward of this
    package, or of zoo itself where that is installed.

    Raises:
        NotFoundError: nothing or several things are registered, or it cannot be imported.
    """
    package, _, short = name.rpartition(":")
    claims = [(point, owner) for point, owner in _points() if point.name == short]
    chosen = [found for found in claims if package in ("", found[1].metadata["Name"])]
    if len(chosen) != 1:
        raise NotFoundError(_not_one(name, [owner.metadata["Name"] for _, owner in claims]))
    point, owner = chosen[0]
    who = "{} {}".format(owner.metadata["Name"], owner.version)
    try:
        module, _, path = point.value.partition(":")
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        reason = first_line(error)
        raise NotFoundError(
            f"the reward '{short}' of {who} cannot be imported: {type(error).__name__}: {reason}"
        ) from error
    # zoo registers rewards in the same group; it is not needed here, and may be here all the same.
    if not is_native(found) and not (isinstance(found, type) and issubclass(found, Reward)):
        raise NotFoundError(
            f"the reward '{short}' of {who} is no reward; "
            "subclass zoo_reward_worker.Reward (or zoo.reward.base.Reward)"
        )
    return found, who


def _points() -> list[tuple[metadata.EntryPoint, metadata.Distribution]]:
    """Every registered reward once, with its distribution."""
    found: dict[tuple[str, str], tuple[metadata.EntryPoint, metadata.Distribution]] = {}
    for owner in metadata.distributions():
        for point in owner.entry_points:
            if point.group == GROUP:
                # A distribution that is found twice on sys.path is imported from the first place.
                found.setdefault((point.name, owner.metadata["Name"]), (point, owner))
    return sorted(found.values(), key=lambda pair: (pair[0].name, pair[1].metadata["Name"]))


def _not_one(name: str, packages: list[str]) -> str:
    if packages:
        return f"the reward '{name}' is registered by {', '.join(packages)}; write package:name"
    names = sorted({point.name for point, _ in _points()})
    return (
        f"no package in {sys.prefix} registers the reward '{name}'; "
        f"registered there: {', '.join(names) or 'none'}"
    )
