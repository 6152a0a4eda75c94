"""Whether a model fits what its recipe asks of it, seen once it is loaded and before it is used."""

from zoo.policy.base import Policy
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe
from zoo.sampler.base import StoredImages


def require_guidance(recipe: Recipe, policy: Policy) -> None:
    """A model of the noise draws nothing of use without guidance, and learning from that fails.

    Raises:
        RecipeError: the recipe collects so.
    """
    guidance = recipe.sampler.options.get("guidance", 1.0)
    if not policy.needs_guidance or guidance != 1 or issubclass(recipe.sampler.cls, StoredImages):
        return
    trains = recipe.objective.cls.trains_guided
    fix = "write sampler.guidance: 5" if trains else (
        f"and '{recipe.objective.name}' trains without: take flow_grpo or dpo with guidance"
    )  # fmt: skip
    raise RecipeError(
        f"{recipe.origin(('sampler', 'guidance'))}: the model predicts noise, whose images without "
        f"guidance collapse as they are trained on; {fix}, or policy.allow_unguided: true to insist"
    )


def require_even_forwards(recipe: Recipe, policy: Policy) -> None:
    """ZeRO 3 fetches weights in every forward from all processes: each must make as many.

    Raises:
        RecipeError: the model's depend on its rows.
    """
    if recipe.engine.zero_stage == 3 and not policy.even_forwards:
        raise RecipeError(
            f"{recipe.origin(('engine', 'zero_stage'))}: engine.zero_stage is 3, where all "
            "processes must make as many forwards, and this model makes one for each expert or "
            "input image of a micro-batch; write engine.zero_stage: 2"
        )
