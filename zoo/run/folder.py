"""The folder of a run: the resolved recipe, the environment, and what training adds."""

import errno
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from pydantic import TypeAdapter

from zoo import __version__, devices, registry
from zoo.errors import UserError
from zoo.recipe.component import components
from zoo.recipe.errors import OptionOrigin
from zoo.recipe.load import Override, Overrides
from zoo.recipe.recipe import Recipe, RecipeError, load_recipe, load_stage
from zoo.recipe.renamed import TRACKING
from zoo.storage import files, json_data
from zoo.storage.files import WriteError, fingerprint, writing

RECIPE, ENVIRONMENT, PROBES, END = "recipe.json", "environment.json", "probes.json", "end.json"
"""Also what is installed; what was measured before the first update; why the run has ended."""

PROMPT_LENGTHS = "prompt_lengths.json"
"""How many prompts each text encoder cuts, and how long the longest is for it."""

EPOCHS = "epochs"
"""The reason of a run's end where it has done them all."""

_LIBRARIES = ("torch", "diffusers", "transformers", "peft", "deepspeed", "torchdiffeq", "numpy")
"""Those that results depend on, besides packages with components."""

GOING_ON = ("engine", "eval", "scoring", "checkpoint", "trackers", "stop_when", "optim.total")
"""What may change in a run that goes on."""

_PLACES = re.compile(r"policy\.pretrained|data\.(train|eval)(\.\d+\.source)?|rewards\.\d+\.path")
"""What may be elsewhere for a run that goes on: see `contents`."""

IMAGES = ("engine", "eval", "scoring", "data", "policy")
"""What may change for images of a run; `policy` to find the model elsewhere, or to save memory."""


@dataclass(frozen=True)
class End:
    """Why a run came to its end: `reason` is EPOCHS or the key of `stop_when` that did it."""

    epoch: int
    reason: str
    text: str


_END = TypeAdapter(End).validate_json
_MAPPING = TypeAdapter(dict[str, Any]).validate_json


def create(recipe: Recipe) -> Path:
    """A new folder `<output_dir>/<name>/<time>` with the recipe and the environment in it.

    Raises:
        RecipeError: there can be no such folder.
    """
    parent = _parent(recipe)
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_place(recipe, error.strerror or str(error)) from error
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    attempt = 0
    while True:
        folder = parent / (stamp if attempt == 0 else f"{stamp}_{attempt}")
        try:
            with writing(folder):
                folder.mkdir()
            break
        except WriteError as error:
            if error.errno != errno.EEXIST:
                raise
            attempt += 1
    files.write(folder / RECIPE, recipe.resolved())
    files.write(folder / ENVIRONMENT, environment(recipe))
    return folder


def require_place(recipe: Recipe) -> None:
    """Refuses a place where `create` can make no folder, before anything is loaded; makes none.

    Raises:
        RecipeError: a file is in the way, or nothing may be written there.
    """
    if why := files.why_unwritable(_parent(recipe)):
        raise _no_place(recipe, why)


def _parent(recipe: Recipe) -> Path:
    return Path(recipe.output_dir) / recipe.name


def _no_place(recipe: Recipe, why: str) -> RecipeError:
    return RecipeError(
        f"{recipe.origin(('output_dir',))}: output_dir '{recipe.output_dir}' cannot hold "
        f"{_parent(recipe)}: {why}; name another folder: -s output_dir=DIR"
    )


def recipe_of(
    folder: Path,
    overrides: Overrides = (),
    epochs: int | None = None,
    *,
    changeable: Sequence[str] = GOING_ON,
    done: int | None = None,
) -> Recipe:
    """The recipe that a run was started with, with changes: by default such as it may go on with.

    Another number of `epochs` leaves the learning rate's schedule as it was. With `done`, that of
    the one stage that such a checkpoint is of.

    Raises:
        UserError: the folder is no run's, or an override would make it another run.
    """
    path = _recipe_path(folder)
    for override in overrides:
        if isinstance(override, Override):
            continue  # an option that the command has
        keys = [key.strip() for key in override.partition("=")[0].split(".")]
        own = keys[2:] if keys[0] == "stages" else keys
        allowed = any(own[: len(key)] == key for key in (each.split(".") for each in changeable))
        going_on = changeable is GOING_ON
        allowed |= going_on and (keys[0] == TRACKING or bool(_PLACES.fullmatch(".".join(own))))
        if not allowed:
            raise UserError(f"-s {override}: {_refuse_change(changeable)}")
    if done is not None:
        return load_stage(path, done, overrides)
    kept = _kept_schedule(path) if epochs is not None else ()
    return load_recipe(path, (*kept, *overrides), epochs, begun=True)


def _kept_schedule(path: Path) -> Overrides:
    """What has a falling learning rate go on as it was, however many epochs there are now.

    Stages need none: their schedule is over all of them, wherever the run ends.
    """
    recipe = load_recipe(path, begun=True)
    optim = recipe.optim
    if recipe.stages or optim.schedule == "constant" or optim.total is not None:
        return ()
    total = recipe.timeline[0].run_updates
    return (Override(("optim", "total"), total, OptionOrigin("--epochs")),)


def _refuse_change(changeable: Sequence[str]) -> str:
    if changeable is not GOING_ON:
        return (
            f"images of a run may change only {', '.join(changeable)}; "
            "start a new run to change more"
        )
    return (
        f"a run that goes on may change only {', '.join(changeable)}, and where the same model, "
        "prompts and reward files are (policy.pretrained, data.train, data.eval, of several "
        "data.train.N.source, rewards.N.path); start a new run to change more"
    )


def goes_on(folder: Path, recipe: Recipe) -> None:
    """The run in the folder goes on with this recipe, so it has not come to its end."""
    (folder / END).unlink(missing_ok=True)
    files.write(folder / RECIPE, recipe.resolved())


def read_end(folder: Path) -> End | None:
    """Why a run came to its end; none where it is going on, was interrupted or has failed.

    Raises:
        DamagedFileError: the file is not what was written.
    """
    path = folder / END
    return json_data.read(path, _END) if path.is_file() else None


def read_resolved_recipe(folder: Path) -> dict[str, Any]:
    """The recipe in a run's folder as data: what it names need not be installed.

    Raises:
        UserError: the folder is no run's.
        DamagedFileError: the file is not what was written.
    """
    fix = "put back what was there: without it this is no run"
    return json_data.read(_recipe_path(folder), _MAPPING, fix=fix)


def read_environment(folder: Path) -> dict[str, Any]:
    """What was installed where a run began; nothing where it does not say.

    Raises:
        DamagedFileError: the file is not what was written.
    """
    path = folder / ENVIRONMENT
    return json_data.read(path, _MAPPING) if path.is_file() else {}


def _recipe_path(folder: Path) -> Path:
    path = folder / RECIPE
    if not files.is_file(path):
        raise UserError(f"{folder} is not a run folder: it has no {RECIPE}")
    return path


def environment(recipe: Recipe) -> dict[str, object]:
    """What is installed here and what it runs on, as JSON can hold it.

    `code` has a fingerprint of zoo and of each package that the recipe has components from.
    """
    return {
        "zoo": __version__,
        "code": code(recipe),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": devices.accelerator_names(),
        "packages": registry.packages(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def code(recipe: Recipe) -> dict[str, str]:
    """The packages that a recipe's results depend on, each with its fingerprint.

    Of a reward in another Python only the package and its version are known.
    """
    recipes = [recipe, *(stage.recipe for stage in recipe.timeline)]
    modules = {found.cls.__module__ for each in recipes for _, found in components(each)}
    found = {}
    for package in sorted({"zoo", *(module.partition(".")[0] for module in modules)}):
        foreign = package not in sys.modules
        found[package] = "in another Python" if foreign else fingerprint(package)
    return found


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Its model; Linux alone tells it in a file."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
