"""Intervals over seeds, against resamples written out one by one; curves of known crossings."""

import itertools
import math
import statistics

import pytest

from zoo.compare.statistics import Band, band, crossing, mean, median, ratio


def percentiles(values):
    """The 2.5% and 97.5% of equally likely values: the least that so many are not above."""
    ordered = sorted(values)
    places = (math.ceil(share * len(ordered) - 1e-9) - 1 for share in (0.025, 0.975))
    return tuple(ordered[place] for place in places)


def resamples(values, statistic):
    return [statistic(each) for each in itertools.product(values, repeat=len(values))]


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [3.0, 1.0], [0.1, 0.5, 0.2, 0.9, 0.4]])
def test_intervals_are_those_of_all_resamples(values):
    for found, statistic in ((mean(values), statistics.fmean), (median(values), statistics.median)):
        assert found.value == pytest.approx(statistic(values))
        expected = percentiles(resamples(values, statistic))
        assert (found.low, found.high) == pytest.approx(expected)
        assert (found.num, found.num_finite) == (len(values), len(values))


def test_the_interval_of_a_ratio_is_that_of_all_pairs_of_resamples():
    slow, fast = [200.0, 260.0, 250.0], [100.0, 90.0, 120.0]
    found = ratio(slow, fast)
    assert found.value == 2.5
    above, below = (resamples(each, statistics.median) for each in (slow, fast))
    expected = percentiles([a / b for a in above for b in below])
    assert (found.low, found.high) == pytest.approx(expected)


def test_one_seed_has_no_interval():
    for found in (mean([2.0]), median([2.0]), ratio([4.0], [2.0])):
        assert found.value == 2.0
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_never_counts_as_longer_than_any_and_is_not_averaged_with_a_number():
    found = median([10.0, math.inf, 30.0])
    assert (found.value, found.low, found.high) == (30.0, 10.0, math.inf)
    assert (found.num, found.num_finite) == (3, 2)
    assert median([math.inf, math.inf, 30.0]).value == math.inf


def test_a_ratio_to_what_is_never_reached_is_bounded_on_one_side_at_most():
    sometimes, always = [10.0, math.inf, 30.0], [10.0, 20.0, 30.0]
    found = ratio(sometimes, always)
    assert found.value == 1.5
    assert found.high == math.inf
    found = ratio(always, sometimes)
    assert found.low == 0.0  # the other may take however long
    assert math.isnan(ratio([math.inf] * 3, [math.inf] * 3).value)
    both = ratio([math.inf] * 3, [math.inf] * 3)
    assert (both.low, both.high) == (0.0, math.inf)


def test_what_is_at_the_target_from_the_start_has_no_ratio():
    assert math.isnan(ratio([0.0, 0.0], [0.0, 0.0]).value)


def test_seeds_without_a_number_are_left_out_of_a_mean_and_counted():
    found = mean([1.0, math.nan, 2.0])
    assert (found.value, found.low, found.high) == (1.5, 1.0, 2.0)
    assert (found.num, found.num_finite) == (3, 2)
    assert math.isnan(mean([math.nan]).value)
    assert math.isnan(mean([]).value)
    assert math.isnan(ratio([], [1.0]).value)


@pytest.mark.slow
def test_many_seeds_are_drawn_and_give_the_same_interval_every_time():
    values = [float(i % 10) for i in range(20)]
    found = mean(values)
    assert found == mean(list(reversed(values)))
    spread = statistics.pstdev(values) / math.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


@pytest.mark.slow
def test_the_interval_of_normal_numbers_narrows_with_their_root():
    few, many = ([statistics.NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
                 for n in (10, 40))  # fmt: skip
    widths = [mean(each).high - mean(each).low for each in (few, many)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


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
