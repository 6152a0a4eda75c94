"""Rows of prompts, as they go through a pipeline: those of a table and of an expert at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from zoo.policy.pipeline.contract import Contract
from zoo.policy.pipeline.embeddings import Table
from zoo.policy.pipeline.questions import Encoded


@dataclass(frozen=True)
class Told:
    """What the rows of a condition point into: tables of prompts, and the family's guidance."""

    tables: tuple[Table, ...]
    scale: float | None
    unguided: "Callable[[], Told] | None" = None
    """The same prompts encoded for a velocity without guidance, where this is for one with."""

    def at(self, guidance: float) -> "Told":
        """What it is with this guidance, which may be set to none after prompts were encoded."""
        return self if guidance != 1.0 or self.unguided is None else self.unguided()

    @cached_property
    def where(self) -> dict[int, tuple[int, int]]:
        """The table and the place in it of every entry."""
        return {
            entry: (number, place)
            for number, table in enumerate(self.tables)
            for place, entry in enumerate(table.places)
        }

    def rows(self, group: "Group", contract: Contract) -> Encoded:
        """What the pipeline is told of a group's prompts."""
        axes = contract.encoded[self.scale is not None]
        return self.tables[group.table].encoded.of_rows(axes, group.places)


@dataclass(frozen=True)
class Group:
    """Rows that go through a pipeline together: their places in a table, and the time to tell."""

    table: int
    places: tuple[int, ...]
    rows: tuple[int, ...]
    at: float


def groups(
    times: Float[Tensor, " batch"], entries: Sequence[int], told: Told, contract: Contract
) -> Iterator[Group]:
    """The groups of a batch whose rows are of these entries, at the scheduler's times."""
    boundary, alone = contract.boundary, contract.manner.batching == "alone"
    high = [False] * len(entries) if boundary is None else (times >= boundary).tolist()
    rows: dict[tuple[int, int, bool], list[int]] = {}
    for row, (entry, is_high) in enumerate(zip(entries, high, strict=True)):
        rows.setdefault((told.where[entry][0], row if alone else 0, is_high), []).append(row)
    for (table, _, is_high), of in rows.items():
        places = tuple(told.where[entries[row]][1] for row in of)
        yield Group(table, places, tuple(of), _time_of(boundary, is_high=is_high))


def _time_of(boundary: float | None, *, is_high: bool) -> float:
    """Any at which the pipeline chooses the same network."""
    if boundary is None:
        return 0.5
    return (1 + boundary) / 2 if is_high else boundary / 2
