"""Crossings and bands of curves whose crossings are known."""

import math

import pytest

from zoo.compare.statistics import Band, band, crossing


def test_a_crossing_is_on_the_line_between_two_points():
    curve = [(0.0, 0.2), (100.0, 0.6), (200.0, 1.0)]
    assert crossing(curve, 0.8) == pytest.approx(150.0)
    assert crossing(curve, 0.6) == pytest.approx(100.0)


def test_a_curve_that_begins_there_crosses_at_its_beginning():
    assert crossing([(5.0, 0.9), (9.0, 0.1)], 0.5) == 5.0


def test_a_curve_that_never_gets_there_crosses_at_infinity():
    assert crossing([(0.0, 0.1), (9.0, 0.4)], 0.5) == math.inf
    assert crossing([], 0.5) == math.inf


def test_the_first_of_several_crossings_counts():
    assert crossing([(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (3.0, 1.0)], 0.5) == pytest.approx(0.5)


def test_an_exponential_curve_is_crossed_where_its_formula_says():
    # 1 - exp(-x / 50) reaches 0.9 at 50 ln 10.
    curve = [(float(x), 1 - math.exp(-x / 50)) for x in range(0, 400)]
    assert crossing(curve, 0.9) == pytest.approx(50 * math.log(10), abs=0.01)


def test_a_band_of_curves_with_the_same_x_has_these_points():
    found = band([[(0.0, 1.0), (2.0, 3.0)], [(0.0, 2.0), (2.0, 7.0)]])
    assert found == Band((0.0, 2.0), (1.5, 5.0), (1.0, 3.0), (2.0, 7.0))


def test_a_band_ends_with_the_shortest_curve():
    found = band([[(0.0, 0.0), (4.0, 4.0)], [(0.0, 0.0), (2.0, 4.0)]])
    assert (found.x[0], found.x[-1], len(found.x)) == (0.0, 2.0, 101)
    assert found.mean == pytest.approx([1.5 * at for at in found.x])
    assert found.low == pytest.approx(found.x)
    assert found.high == pytest.approx([2 * at for at in found.x])


def test_curves_that_do_not_overlap_have_no_band():
    assert band([[(0.0, 0.0), (1.0, 1.0)], [(2.0, 0.0), (3.0, 1.0)]]) == Band()
