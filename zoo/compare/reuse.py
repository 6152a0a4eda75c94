"""What an earlier start of the suite has left of a run: is it the same run, and how far is it?"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UserError, join_lines
from zoo.recipe.model import Recipe
from zoo.run import checkpoint
from zoo.run.folder import read_end, read_environment, read_resolved_recipe

_SAME = ("zoo", "code", "python", "packages", "libraries")
"""Of the environment: what may change a run's numbers."""

_MACHINE = ("processor", "cores", "gpus")
"""What changes its times, and with them where a budget in seconds ends it."""


@dataclass(frozen=True)
class EarlierRun:
    """A folder of the same run: `epoch` is that of its newest checkpoint, if it has one."""

    folder: Path
    has_ended: bool
    epoch: int | None


@dataclass(frozen=True)
class Reusable:
    """The folder to use or to go on with, if there is one, and why others are not used."""

    best: EarlierRun | None
    others: tuple[str, ...]


def find_reusable(parent: Path, recipe: Recipe, environment: dict[str, Any]) -> Reusable:
    """Looks through the folders of one contender and seed; `environment` is that of here.

    The first that came to its end is the one; else the one that is furthest.
    """
    same, others = [], []
    for folder in sorted(path for path in parent.glob("*") if path.is_dir()):
        try:
            different = next(_differences(folder, recipe, environment), None)
            has_ended = read_end(folder) is not None
        except (UserError, ValueError, OSError) as error:
            different = f"it cannot be read ({join_lines(error)})"
        if different is not None:
            others.append(f"{folder.name} is not reused: {different}")
            continue
        newest = checkpoint.latest(folder)
        epoch = None if newest is None else checkpoint.epoch_of(newest)
        same.append(EarlierRun(folder, has_ended, epoch))
    first_ended = next((run for run in same if run.has_ended), None)
    begun = [run for run in same if run.epoch is not None and run.epoch > 0]
    furthest = max(begun, key=lambda run: (run.epoch, run.folder.name), default=None)
    return Reusable(first_ended or furthest, tuple(others))


def _differences(folder: Path, recipe: Recipe, environment: dict[str, Any]) -> Iterator[str]:
    """What makes it another run, the first first."""
    mine, wanted = read_resolved_recipe(folder), as_json(recipe.resolved())
    for name in ("sample", "train"):
        if getattr(recipe.engine.micro_batch, name) == "auto":
            # Found when it was started; the result is the same with any.
            wanted["engine"]["micro_batch"][name] = mine["engine"]["micro_batch"][name]
    for key in dict.fromkeys([*wanted, *mine]):
        if key != "output_dir" and mine.get(key) != wanted.get(key):
            yield f"its recipe has another {key}"
    there, here = read_environment(folder), as_json(environment)
    timed = recipe.stop_when is not None and recipe.stop_when.seconds is not None
    for key in (*_SAME, *(_MACHINE if timed else ())):
        if there.get(key) != here.get(key):
            yield f"it was made with {_other(key, there.get(key), here.get(key))}"


def _other(key: str, old: Any, new: Any) -> str:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return f"{key} {old}, and here is {new}"
    names = [name for name in dict.fromkeys([*new, *old]) if old.get(name) != new.get(name)]
    what = "other code" if key == "code" else "another version"
    return f"{what} of {', '.join(names)}"


def as_json(data: Any) -> Any:
    """Data as it comes back from a file."""
    return json.loads(json.dumps(data))
