import math

import pytest

from zoo.report.over_seeds import band, crossing, mean, median


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


def test_a_band_of_curves_with_the_same_x_has_these_points():
    x, middle, low, high = band([[(0.0, 1.0), (2.0, 3.0)], [(0.0, 2.0), (2.0, 7.0)]])
    assert x == [0.0, 2.0]
    assert (middle, low, high) == ([1.5, 5.0], [1.0, 3.0], [2.0, 7.0])


def test_a_band_ends_with_the_shortest_curve():
    x, middle, low, high = band([[(0.0, 0.0), (4.0, 4.0)], [(0.0, 0.0), (2.0, 4.0)]])
    assert (x[0], x[-1], len(x)) == (0.0, 2.0, 101)
    assert middle == pytest.approx([1.5 * at for at in x])
    assert low == pytest.approx(x)
    assert high == pytest.approx([2 * at for at in x])


def test_never_counts_as_longer_than_any_and_is_not_averaged():
    found = median([10.0, math.inf, 30.0, math.inf])
    assert (found.middle, found.low, found.high) == (math.inf, 10.0, math.inf)
    assert (found.num_finite, found.num) == (2, 4)
    assert median([10.0, 30.0, math.inf]).middle == 30.0
    assert median([10.0, 30.0]).middle == 20.0


def test_a_mean_is_of_what_is_finite_and_says_of_how_many():
    found = mean([1.0, math.nan, 2.0])
    assert (found.middle, found.low, found.high, found.num_finite, found.num) == (1.5, 1, 2, 2, 3)
    assert math.isnan(mean([math.nan]).middle)
