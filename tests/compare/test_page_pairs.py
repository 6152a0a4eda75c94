"""Who ends above whom, seed by seed, by hand."""

import pytest

from tests.compare.test_results import comparison, run
from zoo.compare.page_pairs import pairs
from zoo.compare.results import differences


def ending(*scores):
    return [run((0, 0.1), (900, score)) for score in scores]


A, B, C = ending(0.5, 0.6, 0.7), ending(0.4, 0.7, 0.6), ending(0.9, 0.8, 0.7)


def test_a_seed_that_is_harder_for_all_is_no_part_of_the_difference():
    """The intervals of both meet, and those of their difference do not reach 0."""
    hard = comparison(low=ending(0.1, 0.5, 0.9), high=ending(0.2, 0.6, 1.0))
    (table,) = pairs(hard)
    assert table.rows == (("high", "+0.10 [+0.10, +0.10]", "3 of 3"),)
    assert "less that of low with the same seed" in table.caption


def test_all_pairs_are_a_matrix_by_the_last_score():
    to_first, matrix = pairs(comparison(a=A, b=B, c=C))
    assert to_first.rows == (
        ("c", "+0.20 [0, +0.40]", "2 of 3"),
        ("b", "-0.033 [-0.10, +0.10]", "1 of 3"),
    )
    assert matrix.head == ("contender", "1", "2", "3")
    assert matrix.rows == (
        ("1. c", "", "2", "3"),
        ("2. a", "0", "", "2"),  # a and c are even in the third
        ("3. b", "0", "1", ""),
    )
    assert matrix.caption.startswith("In how many of 3 seeds the row ends above the column")


def test_only_seeds_that_both_have_count():
    made = comparison(a=ending(0.5, 0.6), b=[*ending(0.4, 0.7, 0.6)], c=ending(0.4, float("nan")))
    a, b, c = made.contenders
    assert differences(b, a, "eval/judge") == pytest.approx({0: -0.1, 1: 0.1})
    assert differences(c, a, "eval/judge") == pytest.approx({0: -0.1})
    (table,) = pairs(made)  # one seed says nothing of c
    assert [row[0] for row in table.rows] == ["b"]
    assert table.rows[0][2] == "1 of 2"


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.6]])
def test_nothing_is_said_of_one_contender_or_of_single_seeds(scores):
    others = {"b": ending(0.9)} if len(scores) == 1 else {}
    assert list(pairs(comparison(a=ending(*scores), **others))) == []
    assert list(pairs(comparison(a=[]))) == []
