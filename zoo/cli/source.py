"""What a command is about: a run's folder or a recipe, and which of its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.plan.preflight import require_device
from zoo.policy import lora_files
from zoo.recipe.errors import FileOrigin, OptionOrigin, Origin
from zoo.recipe.load import Override, Overrides, from_yaml
from zoo.recipe.recipe import Recipe, load_stage
from zoo.recipe.sections import EvalOptions
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run import folder as run_dir
from zoo.training import state as run_state
from zoo.training.build import Model, image_model
from zoo.training.components import copies, evaluated_weights


def checkpoint_folder(run_folder: Path, epoch: int | None) -> Path:
    """The folder of an epoch's checkpoint, there or not; with no epoch the last one.

    Raises:
        CheckpointError: there is none yet.
    """
    if epoch is not None:
        return checkpoint.folder_of(run_folder, epoch)
    folder = checkpoint.latest(run_folder)
    if folder is None:
        raise checkpoint.CheckpointError(f"{run_folder} has no checkpoint yet")
    return folder


def weights_named(name: str | None) -> Weights | None:
    """The set of that name, if one is given.

    Raises:
        UserError: there is no such set.
    """
    allowed = [which.value for which in Weights]
    if name is not None and name not in allowed:
        raise UserError(f"--weights {name}: allowed are {', '.join(allowed)}")
    return Weights(name) if name else None


@dataclass(frozen=True)
class Source:
    """A run folder or a recipe, with what the command line changes in it."""

    path: Path
    overrides: Overrides = ()
    epoch: int | None = None
    weights: str | None = None
    tiny: bool = False
    lora: str | None = None


@dataclass(frozen=True)
class Chosen:
    """A recipe with its evaluation; a checkpoint, or the model as the recipe starts; a set."""

    recipe: Recipe
    evaluation: EvalOptions
    folder: Path | None
    weights: Weights
    origin: str


def evaluation_overrides(
    *,
    prompts: str | None = None,
    rewards: str | None = None,
    solver: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    images_per_prompt: int | None = None,
) -> list[Override]:
    """The options that are given, as overrides.

    Raises:
        UserError: `--rewards` or `--solver` cannot be read.
    """
    given: dict[tuple[str, ...], tuple[str, Any]] = {
        ("data", "eval"): ("--prompts", prompts),
        ("eval", "rewards"): ("--rewards", rewards),
        ("eval", "solver"): ("--solver", solver),
        ("eval", "steps"): ("--steps", steps),
        ("eval", "guidance"): ("--guidance", guidance),
        ("eval", "images_per_prompt"): ("--images-per-prompt", images_per_prompt),
    }
    read = {"rewards": _rewards, "solver": _solver}
    found = []
    for loc, (option, value) in given.items():
        if value is not None:
            origin = OptionOrigin(f"{option} {value}")
            if loc[-1] in read:
                value = read[loc[-1]](value, origin)
            found.append(Override(loc, value, origin))
    return found


def choose(source: Source) -> Chosen:
    """Reads the recipe and looks for all that is asked of it; loads no weights.

    A recipe without an `eval` gets one, with the defaults of what no option says.

    Raises:
        UserError: an option is wrong, or this machine lacks the device.
        CheckpointError: there is no checkpoint.
    """
    named = weights_named(source.weights)
    if source.path.is_dir():
        folder: Path | None = checkpoint_folder(source.path, source.epoch)
    elif source.epoch is None:
        folder = None
    else:
        raise UserError(
            f"--epoch {source.epoch}: {source.path} is a recipe; only a run folder has checkpoints"
        )
    done = checkpoint.epoch_of(folder) if folder is not None else 0
    recipe = _recipe(source, source.overrides, done)
    if recipe.eval is None:
        made = Override(("eval",), {}, FileOrigin(str(source.path)))
        recipe = _recipe(source, [*source.overrides, made], done)
    assert recipe.eval is not None
    require_device(recipe)
    which = named or evaluated_weights(recipe)
    have = {Weights.LIVE, Weights.REFERENCE, *copies(recipe)}
    if which not in have:
        names = ", ".join(sorted(each.value for each in have))
        raise UserError(f"--weights {which.value}: this run has {names}")
    return Chosen(recipe, recipe.eval, folder, which, str(folder or source.path))


def loaded(chosen: Chosen) -> Model:
    """The model, with the checkpoint's weights where there is one.

    Raises:
        CheckpointError: it is damaged, or of another model or recipe.
    """
    saved = checkpoint.load(chosen.folder) if chosen.folder is not None else None
    model = image_model(chosen.recipe, chosen.weights, trained=saved is not None)
    if saved is not None and chosen.folder is not None:
        run_state.load_weights(model, saved.tensors, chosen.folder)
    return model


def _recipe(source: Source, overrides: Overrides, done: int) -> Recipe:
    """Of a run in stages, that of the stage that the checkpoint of `done` epochs is of."""
    if source.path.is_dir():
        for option, given in (("--tiny", source.tiny), ("--lora", source.lora)):
            if given:
                raise UserError(f"{option}: {source.path} is a run, with a model of its own")
        return run_dir.recipe_of(source.path, overrides, changeable=run_dir.IMAGES, done=done)
    if source.lora is not None:
        origin = OptionOrigin(f"--lora {source.lora}")
        try:
            found = {"start": source.lora, **lora_files.settings(source.lora)}
        except lora_files.LoraError as error:
            raise UserError(f"{origin}: {error}") from error
        overrides = [*overrides, Override(("policy", "lora"), found, origin)]
    return load_stage(source.path, done, overrides, tiny=source.tiny)


def _rewards(text: str, origin: Origin) -> list[Any]:
    """Names with commas between them, or YAML: a list of names and mappings, or one mapping."""
    if text.lstrip().startswith(("[", "{")):
        read = from_yaml(text, origin)
        listed: Sequence[Any] = read if isinstance(read, list) else [read]
    else:
        listed = [name.strip() for name in text.split(",")]
    if not listed or not all(listed):
        raise UserError(
            f"{origin}: name rewards with commas between them (--rewards digit,diversity), or "
            "write them as in a recipe (--rewards '[{name: digit}]'); zoo list rewards"
        )
    return [{"name": each} if isinstance(each, str) else each for each in listed]


def _solver(text: str, origin: Origin) -> Any:
    return from_yaml(text, origin) if text.lstrip().startswith("{") else {"name": text}
