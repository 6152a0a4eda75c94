"""A recipe from a file or from data: read, validated and checked, before any weights load."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.recipe.checks import check
from zoo.recipe.component import placed
from zoo.recipe.errors import Origins, RecipeError
from zoo.recipe.explain import validated
from zoo.recipe.load import Overrides, read
from zoo.recipe.model import Recipe
from zoo.recipe.tiny import put, smaller

__all__ = ["Recipe", "RecipeError", "load_recipe", "recipe_from"]


def load_recipe(
    path: str | Path,
    overrides: Overrides = (),
    epochs: int | None = None,
    *,
    tiny: bool = False,
) -> Recipe:
    """The recipe of a file, with overrides (`a.b=c`) and, if given, another number of epochs.

    `tiny` makes it small, on random weights: see `zoo.recipe.tiny`.

    Raises:
        RecipeError: what is wrong, a line each, with the place and the fix.
        BrokenPluginError: a component that it names cannot be loaded.
    """
    last = () if epochs is None else (f"epochs={epochs}",)
    raw = read(path, (*overrides, *last))
    recipe = _recipe(raw.data, raw.origins)
    if not tiny:
        return recipe
    return recipe_from(put(recipe.resolved(), smaller(recipe)), f"{path} --tiny")


def recipe_from(data: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """A recipe from plain data, such as a run folder's; `source` names it in errors.

    Raises:
        RecipeError: what is wrong, a line each.
        BrokenPluginError: a component that it names cannot be loaded.
    """
    return _recipe(data, Origins(source))


def _recipe(data: Mapping[str, Any], origins: Origins) -> Recipe:
    recipe = placed(validated(Recipe, data, origins), origins)
    check(recipe)
    return recipe
