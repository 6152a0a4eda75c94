"""`engine.micro_batch: {sample: auto, train: auto}`: finds what fits, tries it, and says it."""

from typing import TYPE_CHECKING

from zoo.engine.rendezvous import least, rank
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import Recipe
from zoo.terminal import say

if TYPE_CHECKING:
    from zoo.training.build import Run


def fit_recipe(recipe: Recipe, size: int) -> Recipe:
    """With micro-batches that fit into the memory of the process that has least."""
    from zoo.plan.fit import fit, memory_of_a_process
    from zoo.plan.footprint import NoEstimateError

    try:
        found = fit(recipe, size, least(memory_of_a_process(recipe, size)))
    except NoEstimateError as error:
        place = recipe.origin(("engine", "micro_batch"))
        raise RecipeError(
            f"{place}: engine.micro_batch is auto, and nothing says what fits: {error}; write "
            "numbers: {sample: 8, train: 4}, say"
        ) from error
    if not rank():
        say(f"{recipe.name}: {found.said}")
    return found.recipe


def try_sizes(recipe: Recipe, run: "Run") -> tuple[Recipe, "Run"]:
    """With smaller ones where the memory did not hold them after all."""
    from zoo.training.trial import halve_until_they_fit

    if recipe.engine.zero_stage is not None:
        return recipe, run
    found = recipe.engine.micro_batch.sizes
    held = halve_until_they_fit(run, found)
    if held.sizes != found and not rank():
        made, trained = held.sizes
        say(f"{recipe.name}: out of memory; micro-batches of {made} and {trained} fit")
    return recipe.with_micro_batch(held.sizes), held.run
