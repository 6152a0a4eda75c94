"""Runs that are there already: to be used as they are, or to go on with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import checkpoint, json_file, run_dir
from zoo.recipe.recipe import Recipe, RecipeError

_CODE = ("code", "packages", "libraries")
"""What of the environment must be the same for a run to come out the same."""


@dataclass(frozen=True)
class Found:
    """A run of the wanted recipe, by this code; `finished`, or with a checkpoint to go on from."""

    folder: Path
    finished: bool


def found(parent: Path, recipe: Recipe) -> Found | None:
    """The newest finished run of a recipe, else the newest that can go on; none if there is none.

    It is of that recipe and seed, and was made by the same code and libraries; where it was written
    makes no difference.
    """
    runs = sorted((path for path in parent.glob("*") if path.is_dir()), reverse=True)
    same = [path for path in runs if _is_of(path, recipe)]
    finished = next((path for path in same if run_dir.ended(path) is not None), None)
    if finished is not None:
        return Found(finished, True)
    begun = next((path for path in same if checkpoint.latest(path) is not None), None)
    return None if begun is None else Found(begun, False)


def newest(parent: Path) -> Path | None:
    """The run folder that was made last."""
    return max((path for path in parent.glob("*") if path.is_dir()), default=None)


def _is_of(folder: Path, recipe: Recipe) -> bool:
    try:
        written = run_dir.resolved(folder)
    except (RecipeError, ValueError):
        return False
    mine = run_dir.environment(recipe)
    theirs = json_file.read(folder / run_dir.ENVIRONMENT) or {}
    wanted = _plain(recipe.resolved())
    return _plain(written) == wanted and all(theirs.get(key) == mine[key] for key in _CODE)


def _plain(recipe: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key != "output_dir"}
