"""What a recipe asks of its files and of this machine, before processes start and weights load."""

import re

import torch

from zoo import lora_files
from zoo.build import device_of, lora_of, start_place
from zoo.data.prompts import load
from zoo.live_bytes import META
from zoo.plan import Plan, plan
from zoo.policy.base import Policy
from zoo.policy.weights import Lora
from zoo.prompt import PromptError
from zoo.recipe.recipe import Recipe, RecipeError


def geometry(recipe: Recipe, processes: int) -> Plan:
    """An epoch on so many processes.

    Raises:
        RecipeError: it cannot be formed; at the option that the reason names.
    """
    try:
        return plan(recipe, processes)
    except ValueError as error:
        words = re.findall(r"\w+", str(error))
        named = [("objective", word) for word in words if word in recipe.objective.options]
        elsewhere = re.search(r"\b(sampler|data|optim|engine)\.\w+(\.\w+)*", str(error))
        if not named and elsewhere:
            place = recipe.origin(tuple(elsewhere[0].split(".")))
            raise RecipeError(f"{place}: {error}") from error
        place = recipe.origin(named[0] if named else ("objective",))
        raise RecipeError(f"{place}: the objective '{recipe.objective.name}': {error}") from error


def num_processes(recipe: Recipe) -> int:
    """How many processes a run starts on this machine: `auto` is one a GPU."""
    if recipe.engine.processes != "auto":
        return recipe.engine.processes
    return min(max(1, torch.cuda.device_count()), recipe.data.groups_per_epoch)


def num_prompts(recipe: Recipe) -> tuple[int, int]:
    """How many prompts there are to train on, and how many to evaluate.

    Raises:
        PromptError: they cannot be read.
    """
    train = _count(recipe, "train", recipe.data.train)
    return train, _count(recipe, "eval", recipe.data.eval) if recipe.data.eval else train


def require_device(recipe: Recipe) -> None:
    """Looks for the device that the recipe wants.

    Raises:
        RecipeError: this machine has none.
    """
    try:
        device_of(recipe)
    except ValueError as error:
        raise RecipeError(f"{recipe.origin(('engine', 'device'))}: {error}") from error


def require_deepspeed_options(recipe: Recipe) -> None:
    """Has DeepSpeed read its own options, where there are any; it takes seconds to import.

    Raises:
        RecipeError: it refuses one.
    """
    options = recipe.engine
    if options.zero_stage is None or not options.deepspeed:
        return
    from zoo.engine.zero import ZeroOptions, require_valid

    try:
        require_valid(
            ZeroOptions(options.zero_stage, options.offload, options.deepspeed), device_of(recipe)
        )
    except ValueError as error:
        place = recipe.origin(("engine", "deepspeed"))
        raise RecipeError(f"{place}: engine.deepspeed: {error}") from error


def require_start(recipe: Recipe) -> None:
    """Reads the header of the LoRA that a run starts from, where it names one; fetches its file.

    Raises:
        RecipeError: it cannot be had, or is of a kind or a rank that the recipe cannot start from.
    """
    lora = lora_of(recipe)
    if lora is not None and lora.start is not None:
        _require_start(recipe, lora, lora.start)


def require_local_start(recipe: Recipe) -> None:
    """As `require_start` and its layers too, of a file that is here; loads and fetches nothing.

    Raises:
        RecipeError: the recipe cannot start from it.
    """
    lora = lora_of(recipe)
    if lora is None or lora.start is None or not lora_files.is_local(lora.start):
        return
    file = _require_start(recipe, lora, lora.start)
    try:
        policy: Policy = recipe.policy.build({"device": META})
        with META:
            policy.weights.allocate((), seed=recipe.seed)
    except Exception:
        # A policy need not work on shapes alone, and its model need not be here yet.
        return
    try:
        lora_files.require_fit(file, policy.weights)
    except lora_files.LoraError as error:
        raise RecipeError(f"{start_place(recipe)}: {error}") from error


def _require_start(recipe: Recipe, lora: Lora, source: str) -> lora_files.LoraFile:
    try:
        file = lora_files.opened(source)
        lora_files.require_rank(file, lora)
    except lora_files.LoraError as error:
        raise RecipeError(f"{start_place(recipe)}: {error}") from error
    return file


def _count(recipe: Recipe, which: str, source: str) -> int:
    try:
        return len(load(source))
    except PromptError as error:
        raise PromptError(f"{recipe.origin(('data', which))}: data.{which}: {error}") from error
