"""Reads suites: every contender becomes a recipe, checked before anything runs."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from zoo.plan import plan
from zoo.recipe.errors import Loc, RecipeError, shown
from zoo.recipe.explain import validated
from zoo.recipe.load import Fragment, Override, Overrides, Raw, assembled, read
from zoo.recipe.model import Recipe
from zoo.recipe.recipe import recipe_in
from zoo.suite.comparable import incomparable, unscored
from zoo.suite.model import Budget, Entry, Loaded, Parts, Suite

MANY_EPOCHS = 1_000_000
"""More than any budget that epochs cannot be counted for."""


def load_suite(path: Path, overrides: Overrides, output_dir: Path, *, tiny: bool = False) -> Loaded:
    """Reads a suite with overrides of its own parts (`seeds=[0]`); runs go below `output_dir`.

    `tiny` makes every contender small, on random weights.

    Raises:
        RecipeError: what is wrong, a line each, with the place and the fix.
    """
    raw = read(path, overrides)
    suite = validated(Suite, raw.data, raw.origins)
    reader = _Reader(path, raw, suite, output_dir, tiny)
    lines: list[str] = []
    entries: list[Entry] = []
    for seed in suite.seeds:
        for contender in suite.contenders:
            try:
                entries.append(Entry(contender, seed, reader.recipe(contender, seed)))
            except RecipeError as error:
                lines += error.lines
    if not lines:
        lines += [*incomparable(entries, raw.origins), *unscored(suite, entries, raw.origins)]
    if lines:
        raise RecipeError(*dict.fromkeys(lines))
    return Loaded(suite, tuple(entries))


@dataclass(frozen=True)
class _Reader:
    path: Path
    raw: Raw
    suite: Suite
    output_dir: Path
    tiny: bool

    def recipe(self, contender: str, seed: int) -> Recipe:
        """With the number of epochs that the budget is enough for."""
        budget = self.suite.budget
        if budget.unit == "epochs":
            return self._read(contender, seed, int(budget.amount))
        if self._assembled(contender, seed, 1).data.get("stages") is not None:
            raise RecipeError(
                f"{self._place(contender)}: it has stages, which are of epochs; compare by "
                "budget: {epochs: ...}"
            )
        once = self._read(contender, seed, 1)
        epochs = _epochs(once, budget)
        if epochs is None and once.optim.schedule != "constant":
            raise RecipeError(
                f"{self._place(contender)}: optim.schedule is {once.optim.schedule}, and how many "
                f"epochs {shown(budget.amount)} {budget.unit} are is not known before; write "
                "optim.schedule: constant, or another budget"
            )
        return self._read(contender, seed, epochs or MANY_EPOCHS)

    def _read(self, contender: str, seed: int, epochs: int) -> Recipe:
        raw = self._assembled(contender, seed, epochs)
        try:
            return recipe_in(raw, tiny=self.tiny)
        except RecipeError as error:
            where = self._place(contender)
            raise RecipeError(*(f"{where}: {line}" for line in error.lines)) from error

    def _assembled(self, contender: str, seed: int, epochs: int) -> Raw:
        written = dict(self.suite.contenders[contender] or {})
        own: Loc = ("contenders", contender)
        base = self._base(written.pop("extends", None), own)
        fragments = [self._fragment(written, own), self._fragment(self.suite.common, ("common",))]
        budget = self.suite.budget
        settings: dict[tuple[str, ...], Any] = {
            ("name",): f"{contender}_{seed}",
            ("seed",): seed,
            ("output_dir",): str(self.output_dir),
            ("epochs",): epochs,
        }
        if budget.unit != "epochs":
            settings["stop_when", budget.unit] = getattr(budget, budget.unit)
        origin = f"{self.path}: the suite"
        overrides = [Override(where, value, origin) for where, value in settings.items()]
        return assembled(base, fragments, overrides)

    def _base(self, extends: Any, own: Loc) -> Path:
        """The recipe's file that a contender starts from."""
        base = self.suite.recipe if extends is None else extends
        place = self.raw.origins.at(("recipe",) if extends is None else (*own, "extends"))
        found = self.path.parent / base if isinstance(base, str) else self.path.parent
        if not found.is_file():
            raise RecipeError(
                f"{place}: {shown(base)} is no recipe's file; paths are relative to {self.path}"
            )
        return found

    def _fragment(self, data: Parts, loc: Loc) -> Fragment:
        return Fragment(data, lambda part: self.raw.origins.at((*loc, *part)))

    def _place(self, contender: str) -> str:
        return f"{self.raw.origins.at(('contenders', contender))}: contender '{contender}'"


def _epochs(recipe: Recipe, budget: Budget) -> int | None:
    """How many the budget is enough for, the last one begun within it; None: not known before."""
    if budget.unit == "seconds":
        return None
    made = plan(recipe, 1)
    if budget.unit == "images":
        return ceil(budget.amount / made.images)
    if made.collect_forwards is None:
        return None
    return ceil(budget.amount / (made.collect_forwards + made.train_forwards))
