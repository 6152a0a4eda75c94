"""Whether rewards can look at what is made, by what rewards and policies declare: no weights."""

from collections.abc import Iterator

from zoo.recipe.errors import Loc
from zoo.recipe.model import Recipe
from zoo.recipe.recipe import RecipeError
from zoo.recipe.sections import RewardEntry
from zoo.reward.frames import misfit


def require_fitting_rewards(recipe: Recipe) -> None:
    """Looks at the rewards of all stages and of their evaluations.

    A policy that does not say what it makes is asked once it is loaded.

    Raises:
        RecipeError: one looks at single images where videos are made, or the other way round, or
            needs more frames than they have.
    """
    for stage in recipe.timeline:
        for loc, entries, of in _scored(stage.recipe):
            _require(stage.recipe, loc, entries, of)


def _scored(recipe: Recipe) -> Iterator[tuple[Loc, tuple[RewardEntry, ...], Recipe]]:
    """Rewards, where they are written, and the recipe of a policy that makes what they score."""
    yield ("rewards",), recipe.rewards, recipe
    if recipe.eval is not None:
        own = recipe.eval.rewards
        loc = ("eval", "rewards") if own else ("rewards",)
        yield loc, own or recipe.rewards, recipe.for_images()


def _require(recipe: Recipe, loc: Loc, entries: tuple[RewardEntry, ...], of: Recipe) -> None:
    makes = of.policy.cls.makes(of.policy.options)
    if makes is None:
        return
    for i, entry in enumerate(entries):
        wrong = misfit(
            entry.label,
            "both" if entry.frames is not None else entry.cls.takes,
            videos=makes == "videos",
            frames=of.size.get("frames"),
            least=entry.cls.least_frames,
        )
        if wrong:
            raise RecipeError(f"{recipe.origin((*loc, i))}: {wrong}")
