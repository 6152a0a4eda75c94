"""A recipe, and the stages that its run goes through.

A stage is the recipe with the stage's own keys merged over it as `extends` merges, not over the
stage before. Weights, optimizer, update count and the objective's state go on from one to the next;
`schedule` and `warmup` of the learning rate are over the updates of all stages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, MinLen
from pydantic import ConfigDict, Field, SkipValidation

from zoo.errors import MisfitError
from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.recipe.component import Component, Strict, components
from zoo.recipe.constructor_schema import Slot
from zoo.recipe.data_section import Count, Data
from zoo.recipe.errors import (
    Loc,
    Origin,
    Origins,
    RecipeError,
    RefusedOptionsError,
    dotted_path,
)
from zoo.recipe.sections import (
    Advantage,
    CheckpointOptions,
    EngineOptions,
    EvalOptions,
    FolderName,
    MicroBatchSizes,
    Optim,
    Rewards,
    Scoring,
    Sizes,
    StopWhen,
    Trackers,
    default,
)
from zoo.recipe.tree import DEFAULT_NAMES
from zoo.sampler.base import ImageSource, Sampler, StoredImages
from zoo.storage.place import Place

T = TypeVar("T")


def shown_size(size: "Size") -> str:
    """A size as people read it: 832 x 480, 5 frames."""
    return ", ".join(_shown(key, value) for key, value in size.items() if value is not None)


def _shown(key: str, value: Any) -> str:
    if key == "frames":
        return "1 frame" if value == 1 else f"{value} frames"
    if key == "resolution":
        width, height = (value, value) if isinstance(value, int) else value
        return f"{width} x {height}"
    return f"{key} {value}"


CHANGEABLE = (
    "sampler", "rewards", "advantage", "objective", "data", "optim", "eval", "scoring"
)  # fmt: skip
"""The sections of a recipe that a stage may change."""

CHANGEABLE_OPTIM = ("lr", "schedule", "updates_per_epoch", "max_grad_norm")
"""What it may change of `optim`: the optimizer goes on, and `warmup` is of the run's start."""

Size = Mapping[str, Any]
"""The options of a policy that say how large its images are: see `Policy.sizes`."""


class StageEntry(Strict):
    """So many epochs with changes to sampler, rewards, advantage, data, eval, scoring, optim.

    Also to the objective's options, but not to another objective; of `optim` to lr, schedule,
    updates_per_epoch and max_grad_norm; of `policy` to the size of its images, where it can be
    asked for others: `resolution`, `frames`. What a stage does not write is the recipe's own. The
    stages' epochs sum to the recipe's.
    """

    # Changes are kept as written: what they mean depends on what they are merged over.
    model_config = ConfigDict(extra="allow")

    name: Annotated[str, MinLen(1)] | None = None
    epochs: Count

    @property
    def changes(self) -> dict[str, Any]:
        """The sections that it writes."""
        return self.model_extra or {}


@dataclass(frozen=True)
class Stage:
    """A stretch of a run and the whole recipe for it; a run without stages is a single one.

    `recipe` has no stages, and its `epochs` are those of the stage.
    """

    recipe: "Recipe"
    run_epochs: int
    """How many epochs the run is to have in all: it may end within a stage, or before it."""
    run_updates: int
    """Updates of all stages to their ends."""
    start: int = 0
    """How many epochs come before."""
    index: int | None = None
    """Counted from 0; none where the run has no stages."""
    name: str | None = None

    @property
    def end(self) -> int:
        """How many epochs are done after it, or where the run ends within it."""
        return min(self.start + self.recipe.epochs, self.run_epochs)

    @property
    def shown(self) -> str:
        """Its index, and its name if it has one."""
        return f"stage {self.index}" + (f" ({self.name})" if self.name else "")


class RecipeSections(Strict):
    """Everything about a run."""

    model_config = ConfigDict(title="Recipe")

    name: FolderName
    seed: Annotated[int, Ge(0)] = 42
    epochs: Count
    policy: Annotated[Component[Policy], Slot(Policy)]
    sampler: Annotated[
        Component[Sampler | StoredImages], Slot(ImageSource, DEFAULT_NAMES[("sampler",)])
    ] = default({})
    rewards: Annotated[Rewards, MinLen(1)]
    advantage: Advantage = Advantage()
    objective: Annotated[Component[Objective[Any]], Slot(Objective)]
    data: Data
    optim: Optim = Optim()
    engine: EngineOptions = EngineOptions()
    eval: EvalOptions | None = None
    scoring: Scoring = Scoring()
    checkpoint: CheckpointOptions = CheckpointOptions()
    stop_when: StopWhen | None = None
    output_dir: Place = "runs"
    trackers: Trackers = ()
    stages: Annotated[tuple[StageEntry, ...], MinLen(1)] | None = None

    def resolved(self) -> dict[str, Any]:
        """The recipe with every default filled in, as JSON can hold it; `recipe_from` reads it."""
        return self.model_dump(mode="json", by_alias=True)


class Recipe(RecipeSections):
    """A recipe as it was read: its sections, where each part was written, and its stages."""

    origins: Annotated[SkipValidation[Origins], Field(exclude=True, repr=False)]
    stage_recipes: Annotated[
        SkipValidation[tuple[Stage, ...]], Field(exclude=True, repr=False)
    ] = ()
    """In order; none where the recipe names no stages."""

    @classmethod
    def of(
        cls, sections: RecipeSections, origins: Origins, stages: tuple[Stage, ...] = ()
    ) -> "Recipe":
        """A recipe whose sections are validated."""
        return cls.model_construct(**dict(sections), origins=origins, stage_recipes=stages)

    def origin(self, loc: Loc) -> Origin:
        """Where a part was written, or the nearest one around it."""
        return self.origins.at(loc)

    def misfit(self, error: MisfitError) -> RecipeError:
        """What does not fit this recipe, with where it is written."""
        return RecipeError(f"{self.origin(error.loc)}: {dotted_path(error.loc)}: {error}")

    @property
    def timeline(self) -> tuple[Stage, ...]:
        """The stages in order; where it names none, itself as the only one."""
        updates = self.epochs * self.optim.updates_per_epoch
        return self.stage_recipes or (Stage(self, self.epochs, updates),)

    def stage_at(self, epoch: int) -> Stage:
        """The stage that goes on once so many epochs are done; the last one after its end."""
        timeline = self.timeline
        return next((stage for stage in timeline if epoch < stage.end), timeline[-1])

    @property
    def size(self) -> Size:
        """How large the images are that it trains on; empty where the policy has one size."""
        return {key: self.policy.options[key] for key in self.policy.cls.sizes}

    @property
    def evaluated_size(self) -> Size:
        """How large those are that it is evaluated by: as `eval` says, else as it trains on."""
        own = self.eval.size if self.eval is not None else {}
        return {**self.size, **own}

    def for_images(self) -> "Recipe":
        """The same, of a policy that makes images of the size of evaluations."""
        size = self.evaluated_size
        if size == self.size:
            return self
        changed = self.policy.settings.model_copy(
            update={f"option_{key}": value for key, value in size.items()}
        )
        return self.model_copy(update={"policy": Component(self.policy.cls, changed)})

    def with_micro_batch(self, sizes: Sizes) -> "Recipe":
        """The same, and so each of its stages, with these sizes of micro-batches."""
        micro_batch = MicroBatchSizes(**sizes._asdict())
        engine = self.engine.model_copy(update={"micro_batch": micro_batch})
        stages = tuple(
            replace(stage, recipe=stage.recipe.with_micro_batch(sizes))
            for stage in self.stage_recipes
        )
        return self.model_copy(update={"engine": engine, "stage_recipes": stages})

    def build(self, component: Component[T], given: Mapping[str, object]) -> T:
        """Constructs a component of this recipe: see `Component.build`.

        Raises:
            RecipeError: a constructor refused its options; the line says where they are written.
            BrokenPluginError: a constructor asks for something that `given` lacks.
        """
        try:
            return component.build(given)
        except RefusedOptionsError as error:
            at = next((loc for loc, other in components(self) if other is component), ())
            loc = (*at, *error.loc)
            raise RecipeError(
                f"{self.origin(loc)}: {dotted_path(loc)}: {error}"
            ) from error.__cause__
