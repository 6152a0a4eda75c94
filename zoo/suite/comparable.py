"""What contenders must have in common, so that their scores mean the same."""

from collections.abc import Iterator, Sequence
from typing import Any

from zoo.recipe.errors import Loc, Origins, dotted, shown
from zoo.recipe.model import Recipe
from zoo.registry import suggest
from zoo.suite.model import Entry, Suite

_SAME: tuple[Loc, ...] = (
    ("policy", "name"),
    ("policy", "pretrained"),
    ("data", "eval"),
    ("eval", "rewards"),
    ("eval", "solver"),
    ("eval", "steps"),
    ("eval", "guidance"),
    ("eval", "images_per_prompt"),
)
"""What makes scores comparable."""


def incomparable(entries: Sequence[Entry], origins: Origins) -> Iterator[str]:
    """A line for each contender whose scores would mean something else than the first's."""
    first, *others = [entry for entry in entries if entry.seed == entries[0].seed]
    for entry in (first, *others):
        if entry.recipe.eval is None:
            place = origins.at(("contenders", entry.contender))
            yield (
                f"{place}: contender '{entry.contender}' has no eval, by which contenders are "
                "compared; write common: {eval: {}}"
            )
            return
    wanted = _comparable(first.recipe)
    for entry in others:
        for loc, value in _comparable(entry.recipe).items():
            if value != wanted[loc]:
                place = origins.at(("contenders", entry.contender))
                yield (
                    f"{place}: {dotted(loc)} is {shown(value)} for '{entry.contender}' and "
                    f"{shown(wanted[loc])} for '{first.contender}', so their scores cannot be "
                    f"compared; write it once, under common"
                )


def _comparable(recipe: Recipe) -> dict[Loc, Any]:
    data = recipe.resolved()
    # Without prompts or rewards of its own an evaluation has those of training.
    data["data"]["eval"] = data["data"]["eval"] or data["data"]["train"]
    data["eval"]["rewards"] = data["eval"]["rewards"] or data["rewards"]
    return {loc: data[str(loc[0])].get(loc[1]) for loc in _SAME}


def unscored(suite: Suite, entries: Sequence[Entry], origins: Origins) -> Iterator[str]:
    """A line for each target of a score that evaluations do not have."""
    recipe = entries[0].recipe
    if recipe.eval is None:
        return
    labels = [entry.label for entry in recipe.eval.rewards or recipe.rewards]
    for index, target in enumerate(suite.targets):
        if target.label not in labels and target.label.partition("/")[0] not in labels:
            place = origins.at(("targets", index, "label"))
            hint = suggest(target.label, labels, "scored")
            yield f"{place}: '{target.label}' is not scored by the evaluations{hint}"
