"""The LoRA that a recipe starts from, looked at before processes start and weights load."""

from zoo.plan.live_bytes import META
from zoo.policy import lora_files
from zoo.policy.base import Policy
from zoo.policy.weights import Lora
from zoo.recipe.recipe import Recipe, RecipeError
from zoo.training.build import lora_of, start_place


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
