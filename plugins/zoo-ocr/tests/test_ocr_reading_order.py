"""Boxes of text in the order of reading."""

import numpy as np
import pytest
from zoo_ocr.reading_order import reading_order


def box(x, y, width=60.0, height=20.0):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def turned(boxes, degrees):
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return [corners @ turn for corners in boxes]


# Two rows of three words and a last one of two, as wide as a sign.
SIGN = [box(x, y) for y in (0.0, 30.0) for x in (0.0, 80.0, 160.0)] + [box(0.0, 60.0, 220.0)]


@pytest.mark.parametrize("degrees", [-30, -10, -3, 0, 3, 10, 30])
@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 2, 5, 1, 4]]
)
def test_rows_are_read_from_the_top_and_each_from_the_left_at_any_tilt(degrees, order):
    shuffled = [turned(SIGN, degrees)[i] for i in order]
    assert [order[i] for i in reading_order(shuffled)] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_order_does_not_depend_on_the_scale(scale):
    boxes = [corners * scale for corners in (SIGN[4], SIGN[0], SIGN[3], SIGN[1])]
    assert reading_order(boxes) == [1, 3, 2, 0]


def test_words_that_are_a_little_higher_or_lower_stay_in_their_row():
    assert reading_order([box(160.0, 0.0), box(80.0, 6.0), box(0.0, 3.0)]) == [2, 1, 0]


def test_no_boxes_have_no_order():
    assert reading_order([]) == []


def test_boxes_without_extent_are_ordered_too():
    assert reading_order([box(5.0, 5.0, 0.0, 0.0), box(0.0, 0.0, 0.0, 0.0)]) == [1, 0]
