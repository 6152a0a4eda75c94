"""`zoo probe`: known answers of a reward, or of all rewards of a recipe."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import typer
from rich.table import Table

from zoo import devices, registry
from zoo.recipe import shipped
from zoo.recipe.recipe import Recipe, load_recipe, single_reward
from zoo.recipe.sections import RewardEntry, Scoring
from zoo.reward.known_answers import KnownAnswerScore, score_known_answers
from zoo.terminal import Terminal
from zoo.training.own_device import device_of


def probe(what: str, overrides: list[str]) -> None:
    """Builds each reward and compares; exits with 1 where one is wrong.

    Raises:
        RecipeError: the recipe, the reward's name or an option is wrong.
    """
    entries, device = _choose_rewards(what, overrides)
    devices.let_memory_grow(device)
    table = Table(box=None, pad_edge=False)
    for heading in ("reward", "known answers", "says"):
        table.add_column(heading)
    wrong = False
    for entry, recipe in entries:
        given = {"device": device}
        reward = recipe.build(entry, given) if recipe else entry.build(given)
        scoring = recipe.scoring if recipe else Scoring()
        answers = score_known_answers(reward, entry.label, device, scoring.timeout)
        wrong |= any(not answer.right for answer in answers)
        table.add_row(entry.label, str(len(answers)), _summarize(answers))
    Terminal().print(table)
    if wrong:
        raise typer.Exit(1)


def _choose_rewards(
    what: str, overrides: list[str]
) -> tuple[Sequence[tuple[RewardEntry, Recipe | None]], torch.device]:
    """Each reward with the recipe that it is of, if it is of one; and where to build it."""
    if not _is_recipe(what):
        device = devices.default_device()
        return [(single_reward(what, overrides), None)], device
    recipe = load_recipe(what, overrides)
    entries: dict[object, tuple[RewardEntry, Recipe]] = {}
    for stage in recipe.timeline:
        evaluated = stage.recipe.eval.rewards if stage.recipe.eval else ()
        for entry in (*stage.recipe.rewards, *evaluated):
            entries.setdefault((entry.label, entry.made_from), (entry, stage.recipe))
    return list(entries.values()), device_of(recipe)


def _is_recipe(what: str) -> bool:
    """Whether it names a recipe: what is also a reward's name is that one."""
    if what.endswith((".yaml", ".yml")) or os.path.isfile(what):
        return True
    is_reward = any(entry.name == what for entry in registry.entries("rewards"))
    place = shipped.locate(Path(what))
    return not is_reward and place.parent == shipped.folder() and place.is_file()


def _summarize(answers: Sequence[KnownAnswerScore]) -> str:
    wrong = [answer.line for answer in answers if not answer.right]
    if wrong:
        return f"wrong: {wrong[0]}"
    return "right" if answers else "it was built; it has none to compare with"
