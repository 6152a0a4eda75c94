"""Which of an epoch's rows make which update, the same for any number of processes."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from zoo.engine.base import Engine
from zoo.rollout import Rows
from zoo.seeds import Draws

CUT = 2
"""Of the way in which rows are cut. A checkpoint has that of its run; without one it is 1, where
all units were shuffled together."""


@dataclass(frozen=True)
class Cut:
    """How the rows of all processes fall into updates, as every process computes it alike."""

    rows: tuple[Int[Tensor, " _"], ...]
    """By update, the indices of this process's own rows."""

    weight: tuple[float, ...]
    """By update, the weight of all processes' rows."""

    largest: tuple[int, ...]
    """By update, the rows of the process that holds most."""


def cut(
    engine: Engine, rows: Rows, num_updates: int, *, num_groups: int, seed: int, epoch: int
) -> Cut:
    """Cuts all processes' units, which are of so many groups, into nearly equal parts."""
    unit = rows.unit.cpu()
    rank = engine.gather(torch.full_like(unit, engine.rank))
    every, weight = engine.gather(unit), engine.gather(rows.weight.double())
    update = updates(every, num_updates, num_groups=num_groups, seed=seed, epoch=epoch)
    local = update[rank == engine.rank]
    return Cut(
        rows=tuple((local == u).nonzero()[:, 0] for u in range(num_updates)),
        weight=tuple(float(weight[update == u].sum()) for u in range(num_updates)),
        largest=tuple(most_rows(rank[update == u]) for u in range(num_updates)),
    )


def updates(
    unit: Int[Tensor, " rows"], num_updates: int, *, num_groups: int, seed: int, epoch: int
) -> Int[Tensor, " rows"]:
    """The update of each row, given the units of all processes' rows in any order.

    Each group's units are shuffled and dealt out over the updates, so every process, which has
    whole groups, has as much to do in each of them. Where the groups have not equally many units
    all are dealt out as one.
    """
    every, member = torch.unique(unit, return_inverse=True)
    groups = num_groups if len(every) % num_groups == 0 else 1
    group = torch.arange(groups)
    place = Draws(seed, "updates", epoch, group).permutation(len(every) // groups)
    # What is left over of the first groups goes to the first update, of the next ones to the next:
    # each process has groups from the first to the last, and so as much left over for each update.
    first = group * num_updates // groups
    return ((place + first[:, None]) % num_updates).flatten()[member]


def most_rows(rank: Int[Tensor, " rows"]) -> int:
    """The rows of the process that has most of them, given each row's process."""
    return int(torch.bincount(rank).max()) if len(rank) else 0
