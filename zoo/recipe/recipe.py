"""A recipe's file, read, checked and resolved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from zoo.policy.base import Policy
from zoo.recipe.checks import check
from zoo.recipe.component import Component, Strict
from zoo.recipe.constructor_schema import Slot
from zoo.recipe.errors import Origins, RecipeError
from zoo.recipe.explain import validate
from zoo.recipe.load import Overrides, Raw, apply_overrides, read, read_data, stage_of
from zoo.recipe.model import Recipe, RecipeSections
from zoo.recipe.renamed import is_older
from zoo.recipe.sections import RewardEntry, Weighted, reward_class
from zoo.recipe.stages import ends_early_by_wish, read_stages
from zoo.recipe.tiny import put, smaller
from zoo.reward.base import Reward

__all__ = ["Recipe", "RecipeError", "load_recipe", "load_stage", "recipe_from", "whole_recipe"]


def load_recipe(
    path: str | Path,
    overrides: Overrides = (),
    epochs: int | None = None,
    *,
    tiny: bool = False,
    begun: bool = False,
) -> Recipe:
    """The recipe of a file, with overrides (`a.b=c`) and, if given, another number of epochs.

    With stages fewer epochs than theirs end the run early, and more are refused. `tiny` makes it
    small, on random weights: see `zoo.recipe.tiny`. `begun` says that it is the recipe of a run,
    which may have been told to end early.

    Raises:
        RecipeError: what is wrong, a line each, with the place and the fix.
        BrokenPluginError: a component that it names cannot be loaded.
    """
    last = () if epochs is None else (f"epochs={epochs}",)
    raw = read(path, (*overrides, *last))
    recipe = _recipe(raw, may_end_early=begun or ends_early_by_wish(raw.origins))
    return _tiny(recipe, path) if tiny else recipe


def load_stage(
    path: str | Path, done: int, overrides: Overrides = (), *, tiny: bool = False
) -> Recipe:
    """The recipe of one stage of a file: of the one that the last of `done` epochs is in.

    `overrides` are of that stage; where the file names no stages, of the whole. `tiny` as in
    `load_recipe`.

    Raises:
        RecipeError: what is wrong, a line each, with the place and the fix.
        BrokenPluginError: a component that it names cannot be loaded.
    """
    raw = read(path)
    timeline = _recipe(raw, may_end_early=True).timeline
    stage = next((stage for stage in timeline if done <= stage.end), timeline[-1])
    alone = raw if stage.index is None else stage_of(raw, stage.index)
    recipe = _recipe(apply_overrides(alone, overrides), may_end_early=True)
    return _tiny(recipe, path) if tiny else recipe


def whole_recipe(raw: Raw, own: Overrides = (), *, tiny: bool = False) -> Recipe:
    """The recipe of what was read, made small where it is to be, and `own` then applied to it.

    With stages it may have fewer epochs than theirs.

    Raises:
        RecipeError: what is wrong, a line each, with the place and the fix.
        BrokenPluginError: a component that it names cannot be loaded.
    """
    if tiny:
        large = _recipe(raw, may_end_early=True)
        source = f"{raw.origins.source} --tiny"
        raw = Raw(put(large.resolved(), smaller(large)), Origins(source))
    return _recipe(apply_overrides(raw, own), may_end_early=True)


def recipe_from(data: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """A recipe from plain data, such as a run folder's; `source` names it in errors.

    Raises:
        RecipeError: what is wrong, a line each.
        BrokenPluginError: a component that it names cannot be loaded.
    """
    raw = Raw(dict(data), Origins(source))
    # What is read from a file is renamed as it is read.
    now = apply_overrides(raw, ()) if is_older(data) else raw
    return _recipe(now, may_end_early=True)


def _tiny(recipe: Recipe, path: str | Path) -> Recipe:
    return recipe_from(put(recipe.resolved(), smaller(recipe)), f"{path} --tiny")


def _recipe(raw: Raw, *, may_end_early: bool) -> Recipe:
    sections = validate(RecipeSections, raw.data, raw.origins)
    recipe = Recipe.of(sections, raw.origins)
    check(recipe)
    stages = read_stages(recipe, raw, may_end_early=may_end_early)
    return Recipe.of(sections, raw.origins, stages)


class _Single(Strict):
    reward: Annotated[RewardEntry, Slot(Reward, base=Weighted, find=reward_class)]


class _SinglePolicy(Strict):
    policy: Annotated[Component[Policy], Slot(Policy)]


def single_policy(
    name: str, given: Mapping[str, Any], overrides: Sequence[str] = ()
) -> Component[Policy]:
    """The policy of that name with some options, and others `a.b=c`, as `-s` has them.

    Raises:
        RecipeError: the name or an option is wrong; a line each.
    """
    raw = read_data({"policy": {"name": name, **given}}, overrides, below=("policy",))
    return validate(_SinglePolicy, raw.data, raw.origins).policy


def single_reward(name: str, overrides: Sequence[str] = ()) -> RewardEntry:
    """The reward of that name with options `a.b=c`, as `-s` has them.

    Raises:
        RecipeError: the name or an option is wrong; a line each.
    """
    raw = read_data({"reward": {"name": name}}, overrides, below=("reward",))
    return validate(_Single, raw.data, raw.origins).reward
