"""What a recipe will do, before paying for it: geometry, forwards, filled-up micro-batches.

Nothing here is estimated: the recipe's own sampler and objective run once on a stand-in model of
one number, so the counts are those of the code that will run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo.errors import MisfitError
from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.prompt import Prompt
from zoo.recipe.errors import Loc
from zoo.recipe.model import Recipe
from zoo.reward.asking import AskingReward
from zoo.rollout import Cond, Path, Rollout, Rows, Weights, take
from zoo.sampler.base import ImageSource, StoredImages
from zoo.seeds import Draws
from zoo.training.cut import most_rows, updates
from zoo.training.micro_batches import (
    balanced_batch_size,
    largest_shard,
    num_micro_batches,
    shard,
)


@dataclass(frozen=True)
class Batches:
    """Micro-batches of one shape on the process that has most; the share that fills them up."""

    count: int
    rows: int
    filled: float

    @classmethod
    def of(cls, largest: Sequence[int], rows: int, wanted: float) -> "Batches":
        """What the largest shares need, against the rows that a process has on average."""
        count = sum(num_micro_batches(most, rows) for most in largest)
        return cls(count, rows, 1 - wanted / (count * rows))


@dataclass(frozen=True)
class Plan:
    """An epoch of a recipe on a number of processes.

    `collect_forwards` is None where the solver makes as many as its data needs.
    """

    processes: int
    groups: int
    group_size: int
    sampling: Batches
    rows: int
    updates: int
    training: Batches
    collect_forwards: int | None
    train_forwards: int
    gradient_forwards: int
    images_per_row: int

    @property
    def images(self) -> int:
        """Images an epoch."""
        return self.groups * self.group_size


_MOST_IMAGES = 1_000_000
"""In an epoch; published runs have some thousand."""


class StandIn(Policy):
    """A model of one number a row, which counts what goes through it."""

    latent_shape = (1,)

    def __init__(self) -> None:
        """Makes its one linear layer."""
        self.weights = WeightSets(nn.Linear(1, 1), None)
        self.gradient_rows = 0

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """Nothing but the guidance."""
        return Cond({}, guidance)

    def velocity(
        self, x: Float[Tensor, "batch *latent"], t: Float[Tensor, " batch"], cond: Cond
    ) -> Float[Tensor, "batch *latent"]:
        """One forward, two with guidance, as every policy."""
        if torch.is_grad_enabled():
            self.gradient_rows += len(x)
        if cond.guidance != 1:
            with torch.no_grad():
                self.weights(x)
        out: Tensor = self.weights(x)
        return out

    def decode(
        self, latents: Float[Tensor, "batch *latent"]
    ) -> Float[Tensor, "batch *frames 3 height width"]:
        """Grey."""
        return latents.new_full((len(latents), 3, 1, 1), 0.5)

    def latents(
        self, images: Float[Tensor, "batch *frames 3 height width"]
    ) -> Float[Tensor, "batch *latent"]:
        """Zeros."""
        return images.new_zeros(len(images), 1)

    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """Even steps."""
        return torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)


class PlanError(MisfitError):
    """An epoch that cannot be formed; `loc` is the part of the recipe to change."""


@dataclass(frozen=True)
class OneImage:
    """The path of one image with what it is of, and what made it: all others are like it."""

    sampler: ImageSource
    objective: Objective[Any]
    policy: Policy
    path: Path
    cond: Cond


def plan(recipe: Recipe, processes: int) -> Plan:
    """An epoch's geometry, by a dry run of the recipe's sampler and objective.

    Raises:
        PlanError: such an epoch cannot be formed; with the place and the reason.
    """
    data, optim, micro_batch = recipe.data, recipe.optim, recipe.engine.micro_batch.sizes
    _require_groups(recipe, processes)
    _require_one_asks(recipe, processes)

    # One image through the sampler: what collecting it takes. All images are alike.
    policy = StandIn()
    one = _sample_one(recipe, policy)
    collect_forwards = policy.weights.num_rows * data.groups_per_epoch * data.group_size
    solver = one.sampler.solver
    depends = solver is not None and solver.num_evals(1) is None

    # The rows that the objective makes of the images of each process.
    ranks = [_rows_of(recipe, one, rank, processes) for rank in range(processes)]
    rank = torch.cat([torch.full_like(rows.unit, i) for i, rows in enumerate(ranks)])
    unit = torch.cat([rows.unit for rows in ranks])
    _require_units(recipe, len(torch.unique(unit)))
    _require_a_row_fits(recipe, one.objective)

    # One row through the loss: what learning from it takes.
    forwards, gradient = _row_forwards(policy, one.objective, ranks[0])
    if one.objective.recalls:
        later = 1 - 1 / optim.updates_per_epoch
        forwards += later * _recall_forwards(policy, one.objective, ranks[0])

    # The process that has most says how many micro-batches all of them run.
    share = largest_shard(data.groups_per_epoch, size=processes) * data.group_size
    update = updates(
        unit, optim.updates_per_epoch, num_groups=data.groups_per_epoch, seed=recipe.seed, epoch=0
    )
    largest = [most_rows(rank[update == u]) for u in range(optim.updates_per_epoch)]
    sample = balanced_batch_size(share, micro_batch.sample)
    train = balanced_batch_size(
        max(largest), max(1, micro_batch.train // one.objective.images_per_row)
    )
    images = data.groups_per_epoch * data.group_size
    return Plan(
        processes, data.groups_per_epoch, data.group_size,
        sampling=Batches.of([share], sample, images / processes),
        rows=len(rank),
        updates=optim.updates_per_epoch,
        training=Batches.of(largest, train, len(rank) / processes),
        collect_forwards=None if depends else collect_forwards,
        train_forwards=round(forwards * len(rank)),
        gradient_forwards=round(gradient * len(rank)),
        images_per_row=one.objective.images_per_row,
    )  # fmt: skip


def _require_groups(recipe: Recipe, processes: int) -> None:
    groups, size = recipe.data.groups_per_epoch, recipe.data.group_size
    if groups * size > _MOST_IMAGES:
        raise PlanError(
            ("data", "groups_per_epoch"),
            f"an epoch would be {groups:,} groups of {size:,} images, and may have "
            f"{_MOST_IMAGES:,} images; write fewer, and more epochs",
        )
    if processes > groups:
        raise PlanError(
            ("data", "groups_per_epoch"),
            f"data.groups_per_epoch is {groups}, less than the {processes} processes, each of "
            "which needs a group; raise it or use fewer processes",
        )


def _require_one_asks(recipe: Recipe, processes: int) -> None:
    """People look at one page, which one process has."""
    for i, entry in enumerate(recipe.rewards if processes > 1 else ()):
        if issubclass(entry.cls, AskingReward):
            raise PlanError(
                ("rewards", i),
                f"the reward '{entry.label}' asks people about the images of one process, and "
                f"there are {processes}; write engine.processes: 1",
            )


def _require_grid(recipe: Recipe, sampler: ImageSource, objective: Objective[Any]) -> None:
    if objective.needs_grid and sampler.grid(StandIn()) is None:
        raise PlanError(
            ("sampler",),
            f"the objective '{recipe.objective.name}' trains at the sampler's own times, and the "
            f"sampler '{recipe.sampler.name}' has none; write sampler.steps: 10, say, if it takes "
            "steps, or use sampler: {name: flow, ...}",
        )


def _require_units(recipe: Recipe, units: int) -> None:
    if units < recipe.optim.updates_per_epoch:
        raise PlanError(
            ("optim", "updates_per_epoch"),
            f"optim.updates_per_epoch is {recipe.optim.updates_per_epoch}, but an epoch has only "
            f"{units} images or pairs to train on; lower it or collect more",
        )


def _require_a_row_fits(recipe: Recipe, objective: Objective[Any]) -> None:
    train = recipe.engine.micro_batch.sizes.train
    if train < objective.images_per_row:
        raise PlanError(
            ("engine", "micro_batch", "train"),
            f"engine.micro_batch.train is {train}, but each row is "
            f"{objective.images_per_row} images; write at least {objective.images_per_row}",
        )


def _sample_one(recipe: Recipe, policy: StandIn) -> OneImage:
    """One image's path, of the structure that the sampler gives every image."""
    sampler = recipe.build(recipe.sampler, {})
    sampler.quantization = "none"  # of which the stand-in has no layers
    objective: Objective[Any] = recipe.build(recipe.objective, {"solver": sampler.solver})
    _require_grid(recipe, sampler, objective)
    policy.weights.allocate(
        objective.moves, seed=recipe.seed, reference=Weights.REFERENCE in objective.uses
    )
    draws = Draws(0, "plan", 0, torch.zeros(1, dtype=torch.long))
    prompts = [Prompt("")]
    cond = policy.encode(prompts, guidance=sampler.guidance)
    if isinstance(sampler, StoredImages):
        path = Path(torch.zeros(1, *policy.latent_shape), 0)
        return OneImage(sampler, objective, policy, path, cond)
    with _giving_place(recipe, ("sampler",)), torch.no_grad():
        path = sampler.sample(policy, prompts, cond, draws, keep_path=objective.needs_path)
    path = path if objective.needs_means else replace(path, mean=None)
    return OneImage(sampler, objective, policy, path, cond)


def _rows_of(recipe: Recipe, one: OneImage, rank: int, processes: int) -> Rows:
    with _giving_place(recipe, ("objective",)):
        return epoch_rows(recipe, one, rank, processes)


@contextmanager
def _giving_place(recipe: Recipe, default: Loc) -> Iterator[None]:
    """Gives what a component says does not fit its place: its own, or else the default."""
    try:
        yield
    except ValueError as error:
        loc = error.loc if isinstance(error, MisfitError) else default
        who = f"the objective '{recipe.objective.name}': " if loc[0] == "objective" else ""
        raise PlanError(loc, f"{who}{error}") from error


def epoch_rows(recipe: Recipe, one: OneImage, rank: int, processes: int) -> Rows:
    """The rows of one process, had all its images the path and prompt of the one."""
    groups = shard(recipe.data.groups_per_epoch, rank=rank, size=processes)
    group_size = recipe.data.group_size
    group = groups.repeat_interleave(group_size)
    key = group * group_size + torch.arange(group_size).repeat(len(groups))
    same = torch.zeros(len(key), dtype=torch.long)
    advantage = (key % group_size).double() - (group_size - 1) / 2
    rollout = Rollout(
        key, group, take(one.path, same), take(one.cond, same), one.sampler.grid(one.policy),
        reward=advantage, gate=torch.ones_like(advantage) if recipe.advantage.gate else None,
    )  # fmt: skip
    rows: Rows = one.objective.rows(rollout, advantage, Draws(recipe.seed, "rows", 0, key))
    return rows


def _row_forwards(policy: StandIn, objective: Objective[Any], rows: Rows) -> tuple[float, float]:
    """Forwards for one row, and how many of them with gradients: of micro-batches, the mean."""
    before, before_gradient = policy.weights.num_rows, policy.gradient_rows
    one = take(rows, torch.zeros(1, dtype=torch.long))
    draws = Draws(0, "plan", 0, one.key)
    for batch in range(objective.period):
        if objective.looks_ahead:
            with torch.no_grad():
                objective.measure(policy, one, draws)
        objective.loss(policy, replace(one, batch=batch), draws)
    made = policy.weights.num_rows - before, policy.gradient_rows - before_gradient
    return made[0] / objective.period, made[1] / objective.period


def _recall_forwards(policy: StandIn, objective: Objective[Any], rows: Rows) -> int:
    """For one row of any update but the first."""
    before = policy.weights.num_rows
    one = take(rows, torch.zeros(1, dtype=torch.long))
    objective.recall(policy, one, Draws(0, "plan", 0, one.key))
    return policy.weights.num_rows - before
