"""Who does what: groups to processes, rows to micro-batches, as many forwards for each process.

Group g lives on process g mod size. Micro-batches have one fixed shape: a short one is filled up
with a repeated row, which its receiver drops or weighs 0, so no forward ever depends on the data.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """Which rows go through together; those from `num_real` on are fillers."""

    index: Int[Tensor, " batch"]
    num_real: int


def shard(num: int, *, rank: int, size: int) -> Int[Tensor, " own"]:
    """The indices below `num` that are this process's."""
    return torch.arange(num)[rank::size]


def largest_shard(num: int, *, size: int) -> int:
    """The most that any process has of `num`."""
    return -(-num // size)


def balanced_batch_size(rows: int, at_most: int) -> int:
    """The batch size of least filling up, with as few micro-batches as `at_most` allows."""
    return -(-rows // -(-rows // at_most))


def num_micro_batches(largest: int, batch: int) -> int:
    """How many micro-batches the process with most rows needs, and so every process runs."""
    return -(-largest // batch)


def micro_batches(
    rows: Int[Tensor, " rows"], batch: int, count: int, *, filler: int = 0
) -> Iterator[MicroBatch]:
    """`count` micro-batches of exactly `batch` rows, filled up with row `filler`."""
    padded = torch.cat([rows, rows.new_full((count * batch - len(rows),), filler)])
    for i, index in enumerate(padded.reshape(count, batch)):
        yield MicroBatch(index, min(max(len(rows) - i * batch, 0), batch))
