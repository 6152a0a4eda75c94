"""Suites: what `zoo compare` is to compare, read and checked before anything runs.

A contender is a recipe of its own: a fragment merged over the suite's base recipe, or over the one
that it `extends`, as recipes extend each other; then what is `common` to all; then the seed and the
budget. Contenders are compared by their evaluations, so these must be the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from pydantic import AfterValidator, Field, model_validator

from zoo.plan import plan
from zoo.recipe.component import Strict
from zoo.recipe.errors import Loc, Origins, RecipeError, dotted, shown
from zoo.recipe.explain import validated
from zoo.recipe.load import Fragment, Override, Overrides, Raw, assembled, read
from zoo.recipe.model import Count, Recipe, Seconds, Target, Text, folder_name
from zoo.recipe.recipe import recipe_in
from zoo.registry import suggest

MANY_EPOCHS = 1_000_000
"""More than any budget that epochs cannot be counted for."""

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


class Budget(Strict):
    """What each run may spend: one of these. Seconds are of collecting and learning alone."""

    seconds: Seconds | None = None
    forwards: Count | None = None
    images: Count | None = None
    epochs: Count | None = None

    @model_validator(mode="after")
    def _one(self) -> "Budget":
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("a budget is one of seconds, forwards, images and epochs")
        return self

    @property
    def unit(self) -> str:
        """The one that it is in."""
        return next(iter(self.model_dump(exclude_none=True)))

    @property
    def amount(self) -> float:
        """How much of it."""
        return float(getattr(self, self.unit))


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is there twice, and would be the same run again")
    return seeds


Name = Annotated[str, AfterValidator(folder_name)]
Seeds = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), AfterValidator(_different)]
Parts = dict[str, Any]
"""A part of a recipe, validated where it is merged."""


class Suite(Strict):
    """The file of a suite; the paths in it are relative to it."""

    name: Name
    about: str = ""
    recipe: Text
    seeds: Seeds
    budget: Budget
    targets: tuple[Target, ...] = ()
    common: Parts = Field(default_factory=dict)
    contenders: Annotated[dict[Name, Parts | None], MinLen(1)]


@dataclass(frozen=True)
class Entry:
    """A contender with one of the seeds, as a recipe that `zoo train` can run."""

    contender: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Unique in its suite."""
        return f"{self.contender}_{self.seed}"


@dataclass(frozen=True)
class Loaded:
    """A suite whose contenders have been validated; entries go by seed, then by contender."""

    suite: Suite
    entries: tuple[Entry, ...]


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
        lines += [*_incomparable(entries, raw.origins), *_unscored(suite, entries, raw.origins)]
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


def _incomparable(entries: Sequence[Entry], origins: Origins) -> Iterator[str]:
    """Contenders whose scores would mean different things."""
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


def _unscored(suite: Suite, entries: Sequence[Entry], origins: Origins) -> Iterator[str]:
    """Targets of scores that evaluations do not have."""
    recipe = entries[0].recipe
    if recipe.eval is None:
        return
    labels = [entry.label for entry in recipe.eval.rewards or recipe.rewards]
    for index, target in enumerate(suite.targets):
        if target.label not in labels and target.label.partition("/")[0] not in labels:
            place = origins.at(("targets", index, "label"))
            hint = suggest(target.label, labels, "scored")
            yield f"{place}: '{target.label}' is not scored by the evaluations{hint}"
