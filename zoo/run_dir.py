"""The folder of a run: the resolved recipe, the environment, and what training adds."""

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from zoo import __version__, registry
from zoo.recipe.recipe import Recipe, RecipeError, load_recipe, load_stage

_RECIPE, _ENVIRONMENT = "recipe.json", "environment.json"
_CHANGEABLE = ("engine", "eval", "scoring", "checkpoint", "tracking")


def create(recipe: Recipe) -> Path:
    """A new folder `<output_dir>/<name>/<time>` with the recipe and the environment in it.

    Raises:
        RecipeError: there can be no such folder.
    """
    parent = Path(recipe.output_dir) / recipe.name
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(
            f"{recipe.origin(('output_dir',))}: output_dir '{recipe.output_dir}' cannot hold "
            f"{parent}: {error.strerror}"
        ) from error
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    attempt = 0
    while True:
        folder = parent / (stamp if attempt == 0 else f"{stamp}_{attempt}")
        try:
            folder.mkdir()
            break
        except FileExistsError:
            attempt += 1
    write_recipe(folder, recipe)
    (folder / _ENVIRONMENT).write_text(json.dumps(_environment(), indent=2) + "\n")
    return folder


def recipe_of(
    folder: Path,
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    *,
    done: int | None = None,
) -> Recipe:
    """The recipe that a run was started with, with the changes that a run may go on with.

    With `done`, that of the one stage that such a checkpoint is of.

    Raises:
        RecipeError: the folder is no run's, or an override would make it another run.
    """
    path = folder / _RECIPE
    if not path.is_file():
        raise RecipeError(f"{folder} is not a run folder: it has no {_RECIPE}")
    for override in overrides:
        keys = [key.strip() for key in override.partition("=")[0].split(".")]
        if (keys[2:] if keys[0] == "stages" else keys)[:1] not in [[key] for key in _CHANGEABLE]:
            raise RecipeError(
                f"-s {override}: a run that goes on may change only {', '.join(_CHANGEABLE)}; "
                "start a new run to change more"
            )
    if done is not None:
        return load_stage(path, done, overrides)
    return load_recipe(path, overrides, epochs, begun=True)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Puts the resolved recipe into the folder, whole or not at all."""
    temporary = folder / f".{_RECIPE}.tmp"
    temporary.write_text(json.dumps(recipe.resolved(), indent=2) + "\n")
    os.replace(temporary, folder / _RECIPE)


def _environment() -> dict[str, object]:
    return {
        "zoo": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": registry.packages(),
    }
