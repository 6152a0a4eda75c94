"""Nested arguments: which leaves differ, which axis is rows, portions and rows of them."""

import torch

from zoo.policy.pipeline.trees import (
    LIST,
    differing,
    in_list,
    joined,
    leaves,
    num_rows,
    on_tensors,
    portion,
    row_axes,
    rows_at,
)


def tree(rows):
    """As a network might take it: rows on three axes, a list of rows, what has none."""
    return {
        "args": (torch.arange(3.0 * rows).reshape(rows, 3),),
        "kwargs": {
            "layers": torch.arange(2.0 * rows).reshape(2, rows, 1),
            "each": [torch.full((length + 1,), float(length)) for length in range(rows)],
            "ids": torch.arange(5),
            "none": None,
            "flag": True,
        },
    }


AXES = {("args", 0): 0, ("kwargs", "layers"): 1, ("kwargs", "each"): LIST}


def same(one, two):
    return dict(leaves(one)).keys() == dict(leaves(two)).keys() and not differing(one, two)


def test_rows_are_what_doubles():
    assert row_axes(tree(2), tree(4)) == AXES


def test_a_list_of_rows_is_not_gone_into():
    twice = {"each": [torch.zeros(2), torch.zeros(4)]}
    assert row_axes({"each": [torch.zeros(1)]}, twice) == {("each",): LIST}


def test_rows_are_taken_on_the_axis_of_each_leaf():
    taken = rows_at(tree(4), AXES, torch.tensor([2, 0]))
    assert taken["args"][0].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert taken["kwargs"]["layers"].flatten().tolist() == [2, 0, 6, 4]
    assert [len(each) for each in taken["kwargs"]["each"]] == [3, 1]
    assert taken["kwargs"]["ids"].tolist() == [0, 1, 2, 3, 4]
    assert num_rows(taken, AXES) == 2


def test_portions_put_together_are_the_whole():
    whole = tree(6)
    parts = [portion(whole, AXES, i, 3) for i in range(3)]
    assert [num_rows(part, AXES) for part in parts] == [2, 2, 2]
    assert same(joined(parts, AXES), whole)


def test_only_tensors_whose_values_changed_differ():
    changed = tree(2)
    changed["kwargs"]["ids"] = changed["kwargs"]["ids"] + 1
    changed["kwargs"]["flag"] = False
    assert differing(tree(2), changed) == {("kwargs", "ids")}
    assert differing(tree(2), tree(3)) >= {("args", 0)}


def test_an_untouched_tree_keeps_its_kinds():
    mapped = on_tensors(tree(2), lambda leaf: leaf)
    assert isinstance(mapped["args"], tuple)
    assert isinstance(mapped["kwargs"]["each"], list)
    assert same(mapped, tree(2))


def test_rows_of_a_list_are_alike():
    assert in_list(("kwargs", "x", 3)) == ("kwargs", "x")
    assert in_list(("args", 0)) == ("args", 0)
