"""Taking and joining rows."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from zoo.rollout import Cond, Lookup, Path, Rollout, Rows, join, shared, take

TABLE = torch.arange(12.0).reshape(4, 3)
GRID = torch.tensor([1.0, 0.0], dtype=torch.float64)
INDEX = torch.tensor([2, 0, 2])


@dataclass(frozen=True)
class OwnRows(Rows):
    cond: Cond
    note: str = "none"
    grid: Tensor = shared()


def rollout() -> Rollout:
    return Rollout(
        key=torch.tensor([10, 11, 12]),
        group=torch.tensor([0, 0, 1]),
        path=Path(torch.arange(6.0).reshape(3, 2), 4),
        cond=Cond({"words": Lookup(TABLE, torch.tensor([3, 3, 1]))}, guidance=2.0),
        grid=GRID,
    )


def test_a_lookup_gathers_rows_of_its_table() -> None:
    lookup = Lookup(TABLE, torch.tensor([1, 1, 3]))
    assert torch.equal(lookup.rows(), TABLE[[1, 1, 3]])


def test_taking_slices_a_lookups_index_and_never_copies_its_table() -> None:
    taken = take(Lookup(TABLE, torch.tensor([3, 1, 0])), INDEX)
    assert taken.table is TABLE
    assert taken.index.tolist() == [0, 3, 0]


def test_taking_reaches_every_tensor_of_a_nested_dataclass() -> None:
    taken = take(rollout(), INDEX)
    assert taken.key.tolist() == [12, 10, 12]
    assert taken.group.tolist() == [1, 0, 1]
    assert taken.path.clean.tolist() == [[4, 5], [0, 1], [4, 5]]
    assert taken.cond.tensors["words"].index.tolist() == [1, 3, 1]
    assert taken.cond.guidance == 2.0
    assert taken.path.num_evals == 4
    assert taken.path.x is None


def test_shared_fields_belong_to_all_rows() -> None:
    rows = OwnRows(
        torch.arange(3), torch.arange(3), torch.ones(3), Cond({"a": torch.arange(3)}), "x", GRID
    )
    taken = take(rows, INDEX)
    assert taken.grid is GRID
    assert taken.note == "x"
    assert isinstance(taken, OwnRows)
    assert take(rollout(), INDEX).grid is GRID
    assert join([taken, rows]).grid is GRID
    assert join([taken, rows]).cond.tensors["a"].tolist() == [2, 0, 2, 0, 1, 2]


def test_joining_puts_back_what_was_taken_apart() -> None:
    whole = rollout()
    parts = [take(whole, torch.tensor(rows, dtype=torch.long)) for rows in ([0], [], [1, 2])]
    joined = join(parts)
    assert torch.equal(joined.key, whole.key)
    assert torch.equal(joined.path.clean, whole.path.clean)
    assert torch.equal(joined.cond.tensors["words"].rows(), whole.cond.tensors["words"].rows())
    assert joined.cond.tensors["words"].table is TABLE


def test_joining_lookups_of_different_tables_is_refused_with_the_fix() -> None:
    one, other = (Lookup(TABLE.clone(), torch.tensor([0])) for _ in range(2))
    with pytest.raises(ValueError, match="encode their prompts together"):
        join([one, other])


@pytest.mark.parametrize("value", [3, 2.5, None, "text"])
def test_what_has_no_rows_is_left_as_it_is(value) -> None:
    assert take(value, INDEX) == value
    assert join([value, value]) == value


def test_taking_no_rows_gives_none() -> None:
    none = take(rollout(), torch.zeros(0, dtype=torch.long))
    assert none.key.shape == (0,)
    assert none.path.clean.shape == (0, 2)
