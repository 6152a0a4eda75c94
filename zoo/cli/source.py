"""What a command is about: a run's folder or a recipe, and which of its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.engine.rendezvous import is_worker
from zoo.errors import UserError
from zoo.plan.cut_prompts import lengths_of
from zoo.plan.preflight import require_device
from zoo.policy import lora_files
from zoo.policy.pipeline import known
from zoo.prompt import Prompt
from zoo.recipe.errors import FileOrigin, OptionOrigin, Origin
from zoo.recipe.expand import expanded
from zoo.recipe.load import Override, Overrides, from_yaml
from zoo.recipe.recipe import Recipe, load_stage
from zoo.recipe.sections import EvalOptions, RewardEntry
from zoo.rollout import Weights
from zoo.run import checkpoint, contents, model_record
from zoo.run.folder import IMAGES, recipe_of
from zoo.terminal import say
from zoo.training.build import Model, image_model
from zoo.training.components import copies, evaluated_weights
from zoo.training.state import load_weights


def checkpoint_folder(run_folder: Path, epoch: int | None) -> Path:
    """The folder of an epoch's checkpoint, there or not; with no epoch the last one that is sound.

    Those that are passed over for it are said.

    Raises:
        CheckpointError: there is none yet.
    """
    if epoch is not None:
        return checkpoint.folder_of(run_folder, epoch)
    folder, unsound = checkpoint.latest(run_folder), checkpoint.passed_over(run_folder)
    if folder is None:
        why = "; ".join([f"{run_folder} has no checkpoint yet", *unsound])
        raise checkpoint.CheckpointError(why)
    for line in unsound if not is_worker() else ():
        say(f"warning: {line}; this is of {folder}", err=True)
    return folder


def parse_weights(name: str | None) -> Weights | None:
    """The set of that name, if one is given.

    Raises:
        UserError: there is no such set.
    """
    allowed = [which.value for which in Weights if which is not Weights.BASE]
    if name is not None and name not in allowed:
        raise UserError(f"--weights {name}: allowed are {', '.join(allowed)}")
    return Weights(name) if name else None


@dataclass(frozen=True)
class ModelSource:
    """A recipe with its evaluation; a checkpoint, or the model as the recipe starts; a set."""

    recipe: Recipe
    evaluation: EvalOptions
    checkpoint: Path | None
    weights: Weights
    origin: str


@dataclass(frozen=True)
class ImageJob:
    """Images that a command is to make: with which model, of which prompts, and where they go.

    `limit` cut the prompts, and `processes` is as it was written.
    """

    source: ModelSource
    prompts: Sequence[Prompt]
    images_per_prompt: int
    seed: int
    out: Path | None = None
    overwrite: bool = False
    limit: int | None = None
    processes: str | None = None

    @property
    def num_images(self) -> int:
        """Of all prompts."""
        return len(self.prompts) * self.images_per_prompt


def evaluation_overrides(
    *,
    prompts: str | None = None,
    rewards: str | None = None,
    solver: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    images_per_prompt: int | None = None,
    resolution: str | None = None,
    frames: int | None = None,
    fps: float | None = None,
) -> list[Override]:
    """The options that are given, as overrides.

    Raises:
        UserError: `--rewards`, `--solver` or `--resolution` cannot be read.
    """
    given: dict[tuple[str, ...], tuple[str, Any]] = {
        ("data", "eval"): ("--prompts", prompts),
        ("eval", "rewards"): ("--rewards", rewards),
        ("eval", "solver"): ("--solver", solver),
        ("eval", "steps"): ("--steps", steps),
        ("eval", "guidance"): ("--guidance", guidance),
        ("eval", "images_per_prompt"): ("--images-per-prompt", images_per_prompt),
        ("eval", "resolution"): ("--resolution", resolution),
        ("eval", "frames"): ("--frames", frames),
        ("eval", "fps"): ("--fps", fps),
    }
    read = {"rewards": _rewards, "solver": _solver, "resolution": _resolution}
    overrides = []
    for loc, (option, value) in given.items():
        if value is not None:
            origin = OptionOrigin(f"{option} {value}")
            if loc[-1] in read:
                value = read[loc[-1]](value, origin)
            overrides.append(Override(loc, value, origin))
    return overrides


def choose_checkpoint(
    path: Path,
    overrides: Overrides = (),
    *,
    epoch: int | None = None,
    weights: str | None = None,
    tiny: bool = False,
    lora: str | None = None,
) -> ModelSource:
    """Reads a run folder's recipe, or a recipe, and looks for all that is asked; loads no weights.

    A recipe without an `eval` gets one, with the defaults of what no option says.

    Raises:
        UserError: an option is wrong, or this machine lacks the device.
        CheckpointError: there is no checkpoint.
    """
    named = parse_weights(weights)
    if path.is_dir():
        folder: Path | None = checkpoint_folder(path, epoch)
        _require_no_other_model(path, tiny=tiny, lora=lora)
    elif epoch is None:
        folder = None
        overrides = [*overrides, *_lora_overrides(lora)]
    else:
        raise UserError(f"--epoch {epoch}: {path} is a recipe; only a run folder has checkpoints")
    recipe = _read_recipe(path, overrides, folder, tiny=tiny)
    if recipe.eval is None:
        default = Override(("eval",), {}, FileOrigin(str(path)))
        recipe = _read_recipe(path, [*overrides, default], folder, tiny=tiny)
    assert recipe.eval is not None
    require_device(recipe)
    which = named or evaluated_weights(recipe)
    have = {Weights.LIVE, Weights.REFERENCE, *copies(recipe)}
    if which not in have:
        names = ", ".join(sorted(copy.value for copy in have))
        raise UserError(f"--weights {which.value}: this run has {names}")
    return ModelSource(recipe, recipe.eval, folder, which, str(folder or path))


def load_model(source: ModelSource) -> Model:
    """The model, with the checkpoint's weights where there is one.

    Raises:
        CheckpointError: it is damaged, or of another model or recipe.
        UserError: the model that comes with the policy is not the one that was trained.
    """
    folder = source.checkpoint
    saved = checkpoint.load(folder) if folder is not None else None
    if folder is not None:
        contents.require_shipped(checkpoint.run_of(folder), source.recipe)
    found = {} if folder is None else model_record.contracts(checkpoint.run_of(folder))
    with known.recalling(found):
        model = image_model(source.recipe, source.weights, trained=saved is not None)
    if saved is not None and folder is not None:
        load_weights(model, saved.tensors, folder)
    return model


def say_cut(job: ImageJob, rewards: Sequence[RewardEntry]) -> None:
    """Says how many of the prompts the policy and these rewards cut."""
    for line in lengths_of(job.source.recipe, job.prompts, rewards).warnings:
        say(f"warning: {line}", err=True)


def _read_recipe(path: Path, overrides: Overrides, folder: Path | None, *, tiny: bool) -> Recipe:
    """Of a run in stages, that of the stage that its checkpoint in `folder` is of."""
    done = checkpoint.epoch_of(folder) if folder is not None else 0
    if path.is_dir():
        return recipe_of(path, overrides, changeable=IMAGES, done=done)
    return load_stage(path, done, overrides, tiny=tiny)


def _require_no_other_model(run_folder: Path, *, tiny: bool, lora: str | None) -> None:
    for option, given in (("--tiny", tiny), ("--lora", lora)):
        if given:
            raise UserError(f"{option}: {run_folder} is a run, with a model of its own")


def _lora_overrides(lora: str | None) -> list[Override]:
    if lora is None:
        return []
    origin = OptionOrigin(f"--lora {lora}")
    try:
        place = expanded(lora, origin, "policy.lora.start")
        start = {"start": lora, **lora_files.settings(place)}
    except lora_files.LoraError as error:
        raise UserError(f"{origin}: {error}") from error
    return [Override(("policy", "lora"), start, origin)]


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
    return [{"name": reward} if isinstance(reward, str) else reward for reward in listed]


def _solver(text: str, origin: Origin) -> Any:
    return from_yaml(text, origin) if text.lstrip().startswith("{") else {"name": text}


def _resolution(text: str, origin: Origin) -> Any:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"{origin}: write the side of a square, 512, or width x height, 832x480")
    numbers = [int(side) for side in sides]
    return numbers[0] if len(numbers) == 1 else numbers
