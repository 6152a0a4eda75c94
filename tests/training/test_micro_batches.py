"""Dealing groups to processes and rows to micro-batches."""

import pytest
import torch

from zoo.training.micro_batches import largest_shard, micro_batches, num_micro_batches, shard


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("num", [0, 1, 5, 6, 21])
def test_every_group_is_shard_once_and_group_g_to_process_g_mod_size(num, size) -> None:
    hands = [shard(num, rank=rank, size=size).tolist() for rank in range(size)]
    assert sorted(g for hand in hands for g in hand) == list(range(num))
    assert all(g % size == rank for rank, hand in enumerate(hands) for g in hand)
    assert max(len(hand) for hand in hands) == largest_shard(num, size=size)


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("num", [0, 1, 5, 6, 9])
@pytest.mark.parametrize("spare", [0, 2])
def test_micro_batches_have_one_shape_and_hold_every_row_once(num, batch, spare) -> None:
    rows = torch.arange(num) * 10 + 3
    count = num_micro_batches(num, batch) + spare
    parts = list(micro_batches(rows, batch, count, filler=77))
    assert len(parts) == count
    assert all(part.index.shape == (batch,) for part in parts)
    real = [i for part in parts for i in part.index[: part.num_real].tolist()]
    assert real == rows.tolist()
    fillers = [i for part in parts for i in part.index[part.num_real :].tolist()]
    assert fillers == [77] * (count * batch - num)


def test_no_micro_batches_of_no_rows() -> None:
    assert num_micro_batches(0, 4) == 0
    assert list(micro_batches(torch.zeros(0, dtype=torch.long), 4, 0)) == []
