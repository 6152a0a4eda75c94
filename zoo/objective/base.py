"""The Objective interface: which rows to train on, their loss, and what moves after an update."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.rollout import Rollout, Rows, Weights
from zoo.sampler.base import PerRow
from zoo.seeds import Draws

R = TypeVar("R", bound=Rows)

Gather = Callable[[Tensor], Tensor]
"""Joins the rows of all processes, in the order of the processes."""


@dataclass(frozen=True)
class Loss:
    """A loss for each row, and numbers by row to record, averaged with the rows' weights."""

    per_row: Float[Tensor, " rows"]
    metrics: Mapping[str, Float[Tensor, " rows"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """Something that must hold before the first update, as measured."""

    name: str
    measured: float
    expected: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether it does; a NaN does not."""
        return abs(self.measured - self.expected) <= self.tolerance


class Objective(ABC, Generic[R]):
    """One algorithm. It sees its own process's images, whole groups of them, and no others."""

    acts_with: Weights = Weights.LIVE
    """The weights that collect."""

    needs_path: ClassVar[bool] = False
    """Whether it needs a stochastic solver's path and log-probabilities."""

    needs_means: bool = False
    """Whether it needs the mean of each step of the path too: as much memory again."""

    needs_grid: ClassVar[bool] = False
    """Whether it trains at the sampler's own times, which stored images have not."""

    trains_guided: ClassVar[bool] = False
    """Whether it can learn from images that were collected with classifier-free guidance."""

    images_per_row: ClassVar[int] = 1
    """Images that one row puts through the network: 2 for a pair."""

    needs_groups: ClassVar[bool] = True
    """Whether it must have several images of a prompt to compare: False where it may do without."""

    compares: bool = True
    """Whether images of equal rewards teach it nothing, which a run warns of."""

    whole_groups: ClassVar[bool] = False
    """Whether a group is its unit, and so is trained in one update."""

    looks_ahead: ClassVar[bool] = False
    """Whether `measure` and `settle` come before each update."""

    recalls: bool = False
    """Whether `recall` and `remember` come before an epoch's first update."""

    period: int = 1
    """After how many micro-batches it does the same again, counted by `Rows.batch`."""

    guidance: float = 1.0
    """The guidance of forwards of its own, which prompts are encoded for; 1 is none."""

    @property
    def moves(self) -> frozenset[Weights]:
        """The sets besides live that it writes; only these are allocated and kept in checkpoints.

        `Weights.REFERENCE` may be used without, if `uses` says so: it is the model as pre-trained.
        """
        return frozenset()

    @property
    def uses(self) -> frozenset[Weights]:
        """The sets besides live and those it moves that it reads: the reference, or none.

        Full fine-tuning keeps a whole copy of the network for a reference that is used.
        """
        return frozenset({Weights.REFERENCE})

    @abstractmethod
    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> R:
        """What to train on; `draws` are by image.

        `advantage` is NaN for invalid images, whose rows get weight 0. The number of rows must
        depend on the rollout's shape alone.

        Raises:
            MisfitError: an option does not suit the rollout; `loc` is where a recipe has it.
        """

    @abstractmethod
    def loss(self, policy: Policy, rows: R, draws: Draws) -> Loss:
        """The loss of some rows, by one forward of live with gradients; `draws` are by row.

        It changes nothing of the objective: with `policy.copies_on: cpu` it is called more often.
        """

    def measure(self, policy: Policy, rows: R, draws: Draws) -> PerRow:
        """What an update must know of each row before its losses; called without gradients.

        Of all the update's rows, a micro-batch at a time, and only where it `looks_ahead`.

        Raises:
            NotImplementedError: it looks ahead without one.
        """
        raise NotImplementedError(f"{type(self).__name__} looks ahead and has no measure")

    def settle(self, rows: R, measured: PerRow, gather: Gather) -> R:
        """The same rows, of all updates, with what was `measured` of those of the next one.

        It is NaN for the rows of other updates and for those of weight 0. `gather` joins a tensor
        of every process; all processes call `settle` once an update.

        Raises:
            NotImplementedError: it looks ahead without one.
        """
        raise NotImplementedError(f"{type(self).__name__} looks ahead and has no settle")

    def recall(self, policy: Policy, rows: R, draws: Draws) -> Float[Tensor, "rows ..."]:
        """What live says of each row before it moves, by the forward that `loss` makes of it.

        Of the rows of all updates but the first, in the micro-batches that they are trained in, and
        only where it `recalls`: a number of each, or several.

        Raises:
            NotImplementedError: it recalls without one.
        """
        raise NotImplementedError(f"{type(self).__name__} recalls and has no recall")

    def remember(self, rows: R, recalled: Float[Tensor, "rows ..."]) -> R:
        """The same rows, of all updates, with what was `recalled` of them.

        It is NaN for the rows of the first update, and for those of weight 0; where there is no
        other update, one of each row.

        Raises:
            NotImplementedError: it recalls without one.
        """
        raise NotImplementedError(f"{type(self).__name__} recalls and has no remember")

    def after_update(self, weights: WeightSets, step: int) -> None:
        """Called after each optimizer step; `step` counts those done."""

    def after_epoch(self, weights: WeightSets, step: int) -> None:
        """Called after each epoch."""

    def probes(self, policy: Policy, rows: R, draws: Draws) -> Sequence[Probe]:
        """What must hold before the first update of a run, measured on some rows."""
        return ()

    def doubts(self, metrics: Mapping[str, float], before: int, after: int) -> Sequence[str]:
        """What cannot be right in an epoch's averages, a line each, which the run warns of.

        So many optimizer steps were done `before` and `after` it.
        """
        return ()

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep, as JSON can hold it."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` gave."""
