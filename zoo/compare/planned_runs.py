"""The runs of a suite: a recipe for each contender and seed, all checked before the first starts.

A comparison in which something else than the contenders differs is refused: see `find_differences`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.compare.suite import Budget, LoadedSuite
from zoo.errors import suggest
from zoo.plan.geometry import Plan
from zoo.recipe.errors import FileOrigin, Loc, Origin, RecipeError, dotted_path, shown
from zoo.recipe.load import Override
from zoo.recipe.model import Recipe

MANY_EPOCHS = 1_000_000
"""Of a run that ends when its budget is spent, where nothing tells when that is."""

TINY_EPOCHS = 2
"""The budget of `--tiny`, where the command line sets none."""

Examine = Callable[[Recipe], Plan]
"""Checks a recipe against its files and this machine; an epoch of it."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that the suite asks for."""

    contender: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Of its recipe, its folder and its log."""
        return f"{self.contender}_{self.seed}"


def budget_of(written: LoadedSuite, *, tiny: bool) -> Budget:
    """What each run may spend: with `tiny` few epochs, unless the command line says more."""
    budget = written.suite.budget
    by_hand = any(written.place("budget", key).on_command_line for key in budget.spent)
    return Budget(epochs=TINY_EPOCHS) if tiny and not by_hand else budget


def plan_runs(written: LoadedSuite, out: Path, examine: Examine, *, tiny: bool) -> list[PlannedRun]:
    """All runs, seed by seed, so that an interrupted suite has as many of each contender.

    Raises:
        RecipeError: a recipe is wrong, or the comparison void; a line each.
        BrokenPluginError: a component that a recipe names cannot be loaded.
    """
    budget = budget_of(written, tiny=tiny)
    bases = {name: written.recipe(name, tiny=tiny) for name in written.suite.contenders}
    lines = [*find_differences(written, bases), *_find_unscored(written, bases)]
    if lines:
        raise RecipeError(*lines)
    spending = {}
    for name, recipe in bases.items():
        try:
            spending[name] = _spend(written, name, budget, recipe, examine(recipe))
        except (RecipeError, ValueError) as error:
            raise written.refusal(name, *str(error).splitlines()) from error
    runs = []
    for seed in written.suite.seeds:
        for name in bases:
            place = written.place("contenders", name)
            own = {"name": f"{name}_{seed}", "seed": seed, "output_dir": str(out / "runs")}
            parts = [Override((key,), value, place) for key, value in own.items()]
            recipe = written.recipe(name, [*parts, *spending[name]], tiny=tiny)
            runs.append(PlannedRun(name, seed, recipe))
    return runs


def _spend(
    written: LoadedSuite, contender: str, budget: Budget, recipe: Recipe, plan: Plan
) -> list[Override]:
    """What ends the run when its budget is spent: epochs, and where others count a condition."""
    ((key, most),) = budget.spent.items()
    place = written.place("budget", key)
    if key == "epochs":
        return [Override(("epochs",), most, place)]
    if recipe.stages:
        raise ValueError(
            f"it has stages, whose lengths are in epochs, and the budget is in {key}; "
            "write budget: {epochs: ...}, or stages: null for the contender"
        )
    epochs = _num_epochs(key, most, plan)
    if epochs is None and written.writes(contender, "epochs"):
        epochs = recipe.epochs
    if epochs is None and recipe.optim.schedule != "constant":
        raise RecipeError(
            f"{recipe.origin(('optim', 'schedule'))}: optim.schedule is '{recipe.optim.schedule}', "
            f"whose shape depends on the number of epochs, which a budget in {key} leaves open; "
            f"write contenders.{contender}.epochs, after which the run ends at the latest, "
            "optim.schedule: constant, or another budget"
        )
    end = Override(("stop_when", key), most, place)
    return [Override(("epochs",), epochs or MANY_EPOCHS, place), end]


def _num_epochs(key: str, most: float, plan: Plan) -> int | None:
    """How many epochs reach the budget; none where only the run can tell."""
    if key == "images":
        return math.ceil(most / plan.images)
    if key == "forwards" and plan.collect_forwards is not None:
        return math.ceil(most / (plan.collect_forwards + plan.train_forwards))
    return None


def find_differences(written: LoadedSuite, recipes: Mapping[str, Recipe]) -> Iterator[str]:
    """Lines about what the contenders must have in common, and have not."""
    first, *others = recipes
    base = _same(recipes[first])
    for name, recipe in recipes.items():
        if recipe.eval is None:
            place = written.place("contenders", name)
            yield (
                f"{place}: contender '{name}': eval is null, so there are no scores to compare; "
                "`common` sets it for all: common: {eval: {every: 5}}"
            )
    for name in others:
        mine = _same(recipes[name])
        for loc in dict.fromkeys([*base, *mine]):
            if mine.get(loc) != base.get(loc):
                place = _place_of(recipes[name], loc, written.place("contenders", name))
                yield (
                    f"{place}: contender '{name}': {dotted_path(loc)} is {shown(mine.get(loc))}, "
                    f"and that of '{first}' is {shown(base.get(loc))}: what is measured, and of "
                    "which model, must be the same; `common` sets it for all"
                )


def _place_of(recipe: Recipe, loc: Loc, default: Origin) -> Origin:
    """Where the part is written; what `--tiny` made is in no line of a file."""
    place = recipe.origin(loc)
    return default if isinstance(place, FileOrigin) and place.line is None else place


def _same(recipe: Recipe) -> dict[Loc, Any]:
    """The leaves of what must be the same: evaluation, its prompts, and the model."""
    data = recipe.resolved()
    measured = dict(data["eval"] or {})
    if measured and not measured["rewards"]:
        measured["rewards"] = data["rewards"]
    policy = {key: data["policy"].get(key) for key in ("name", "pretrained", "revision")}
    prompts = data["data"]["eval"] or data["data"]["train"]
    chosen = {"eval": measured, "data": {"eval": prompts}, "policy": policy}
    return dict(_leaves(chosen, ()))


def _leaves(value: Any, loc: Loc) -> Iterator[tuple[Loc, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*loc, key))
    else:
        yield loc, value


def _find_unscored(written: LoadedSuite, recipes: Mapping[str, Recipe]) -> Iterator[str]:
    """Lines about targets that a contender's evaluation does not score."""
    for name, recipe in recipes.items():
        if recipe.eval is None:
            continue
        labels: Sequence[str] = [entry.label for entry in recipe.eval.rewards or recipe.rewards]
        for i, target in enumerate(written.suite.targets):
            if target.label.partition("/")[0] not in labels:
                place = written.place("targets", i, "label")
                yield (
                    f"{place}: targets.{i}.label: '{target.label}' is not scored in the "
                    f"evaluation of contender '{name}'{suggest(target.label, labels, 'scored')}; "
                    "add it to eval.rewards"
                )
