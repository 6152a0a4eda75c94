"""Reads the stages of a recipe: each is validated and checked as a whole recipe."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from zoo.errors import suggest
from zoo.recipe.checks import check
from zoo.recipe.errors import Loc, Origins, RecipeError, dotted_path
from zoo.recipe.explain import validate
from zoo.recipe.load import Raw, stage_of
from zoo.recipe.model import CHANGEABLE, CHANGEABLE_OPTIM, Recipe, RecipeSections, Stage
from zoo.recipe.sections import Optim

_KEYS = ("name", "epochs", *CHANGEABLE)


def read_stages(recipe: Recipe, raw: Raw, *, may_end_early: bool) -> tuple[Stage, ...]:
    """The stages of a recipe that is otherwise right; none where it names none.

    `may_end_early` allows it fewer epochs than its stages have together.

    Raises:
        RecipeError: what is wrong, a line each, with the place and the fix.
    """
    entries = recipe.stages or ()
    mistakes = [*_wrong_keys(recipe), *_wrong_sum(recipe, may_end_early=may_end_early)]
    if mistakes:
        raise RecipeError(*(f"{recipe.origin(loc)}: {text}" for loc, text in mistakes))
    recipes: list[Recipe] = []
    lines: list[str] = []
    for index in range(len(entries)):
        try:
            recipes.append(_recipe_of(recipe, stage_of(raw, index), index))
        except RecipeError as error:
            lines += error.lines
    if lines:
        raise RecipeError(*dict.fromkeys(lines))
    updates = sum(stage.epochs * stage.optim.updates_per_epoch for stage in recipes)
    starts = accumulate((entry.epochs for entry in entries), initial=0)
    return tuple(
        Stage(stage, recipe.epochs, updates, start, index, entries[index].name)
        for index, (stage, start) in enumerate(zip(recipes, starts, strict=False))
    )


def _recipe_of(run: Recipe, raw: Raw, index: int) -> Recipe:
    recipe = Recipe.of(validate(RecipeSections, raw.data, raw.origins), raw.origins)
    if recipe.objective.cls is not run.objective.cls:
        raise RecipeError(
            f"{recipe.origin(('objective', 'name'))}: a stage goes on with the run's objective "
            f"'{run.objective.name}' and may change its options; '{recipe.objective.name}' needs "
            "a run of its own"
        )
    check(recipe)
    return recipe


def _wrong_keys(recipe: Recipe) -> Iterator[tuple[Loc, str]]:
    for index, entry in enumerate(recipe.stages or ()):
        loc = ("stages", index)
        keys = (*_KEYS, "policy") if recipe.policy.cls.sizes else _KEYS
        yield from _refuse(loc, entry.changes, keys, tuple(RecipeSections.model_fields))
        optim, policy = entry.changes.get("optim"), entry.changes.get("policy")
        if isinstance(optim, Mapping):
            known = tuple(Optim.model_fields)
            yield from _refuse((*loc, "optim"), optim, CHANGEABLE_OPTIM, known)
        if isinstance(policy, Mapping) and recipe.policy.cls.sizes:
            known = ("name", *recipe.policy.options)
            yield from _refuse((*loc, "policy"), policy, recipe.policy.cls.sizes, known)


def _refuse(
    loc: Loc, written: Mapping[str, Any], allowed: tuple[str, ...], known: tuple[str, ...]
) -> Iterator[tuple[Loc, str]]:
    for key in written:
        name = dotted_path((*loc, key))
        if key in allowed:
            continue
        if key in known:
            reason = f"{name} is of the whole run, and a stage cannot change it"
            yield (*loc, key), f"{reason}; allowed: {', '.join(allowed)}"
        else:
            yield (*loc, key), f"unknown key '{name}'{suggest(key, allowed, 'allowed')}"


def _wrong_sum(recipe: Recipe, *, may_end_early: bool) -> Iterator[tuple[Loc, str]]:
    epochs = [entry.epochs for entry in recipe.stages or ()]
    total = sum(epochs)
    if not epochs or recipe.epochs == total or (may_end_early and recipe.epochs < total):
        return
    terms = " + ".join(map(str, epochs))
    early = " or fewer, to end early" if may_end_early else ""
    yield (
        ("epochs",),
        f"epochs is {recipe.epochs}, and the stages have {total} ({terms}); write epochs: {total}"
        f"{early}, or change the epochs of a stage (stages.{len(epochs) - 1}.epochs)",
    )


def ends_early_by_wish(origins: Origins) -> bool:
    """Whether it was the command line that said how many epochs there are."""
    return origins.at(("epochs",)).on_command_line
