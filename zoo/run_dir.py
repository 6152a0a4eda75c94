"""The folder of a run: the resolved recipe, the environment, and what training adds."""

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from zoo import __version__, registry
from zoo.recipe.load import Override, Overrides
from zoo.recipe.recipe import Recipe, RecipeError, load_recipe, load_stage

_RECIPE, _ENVIRONMENT = "recipe.json", "environment.json"
GOING_ON = ("engine", "eval", "scoring", "checkpoint", "tracking")
"""What may change in a run that goes on."""

IMAGES = ("engine", "eval", "scoring", "data", "policy")
"""What may change for images of a run; `policy` to find the model elsewhere, or to save memory."""


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
    (folder / _ENVIRONMENT).write_text(json.dumps(environment(), indent=2) + "\n")
    return folder


def recipe_of(
    folder: Path,
    overrides: Overrides = (),
    epochs: int | None = None,
    *,
    changeable: Sequence[str] = GOING_ON,
    done: int | None = None,
) -> Recipe:
    """The recipe that a run was started with, with changes: by default such as it may go on with.

    With `done`, that of the one stage that such a checkpoint is of.

    Raises:
        RecipeError: the folder is no run's, or an override would make it another run.
    """
    path = folder / _RECIPE
    if not path.is_file():
        raise RecipeError(f"{folder} is not a run folder: it has no {_RECIPE}")
    for override in overrides:
        if isinstance(override, Override):
            continue  # an option that the command has
        keys = [key.strip() for key in override.partition("=")[0].split(".")]
        if (keys[2:] if keys[0] == "stages" else keys)[:1] not in [[key] for key in changeable]:
            what = "a run that goes on" if changeable is GOING_ON else "images of a run"
            raise RecipeError(
                f"-s {override}: {what} may change only {', '.join(changeable)}; "
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


def environment() -> dict[str, object]:
    """What is installed here, as JSON can hold it."""
    return {
        "zoo": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": registry.packages(),
    }
