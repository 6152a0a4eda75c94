"""Stages of a run: what a recipe writes of one, and what the run then goes by.

A stage is the recipe with the stage's own keys merged over it as `extends` merges, not over the
stage before. Weights, optimizer, update count and the objective's state go on from one to the next;
`schedule` and `warmup` of the learning rate are over the updates of all stages.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, MinLen
from pydantic import ConfigDict

from zoo.recipe.component import Strict

if TYPE_CHECKING:
    from zoo.recipe.model import Recipe

CHANGEABLE = (
    "sampler", "rewards", "advantage", "objective", "data", "optim", "eval", "scoring"
)  # fmt: skip
"""The sections of a recipe that a stage may change."""

CHANGEABLE_OPTIM = ("lr", "schedule", "updates_per_epoch", "max_grad_norm")
"""What it may change of `optim`: the optimizer goes on, and `warmup` is of the run's start."""


class StageEntry(Strict):
    """So many epochs with changes to sampler, rewards, advantage, data, eval, scoring, optim.

    Also to the objective's options, but not to another objective; of `optim` to lr, schedule,
    updates_per_epoch and max_grad_norm. What a stage does not write is the recipe's own. The
    stages' epochs sum to the recipe's.
    """

    # Changes are kept as written: what they mean depends on what they are merged over.
    model_config = ConfigDict(extra="allow")

    name: Annotated[str, MinLen(1)] | None = None
    epochs: Annotated[int, Ge(1)]

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
