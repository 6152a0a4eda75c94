"""Means over seeds with their bootstrap intervals, and where a curve reaches a target."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import numpy as np
import torch

from zoo.seeds import Draws

_GRID = 101

Points = Sequence[tuple[float, float]]
"""A piecewise linear curve; x does not fall."""


@dataclass(frozen=True)
class Band:
    """Several curves on common x: their mean, and the least and the most of them."""

    x: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def crossing(curve: Points, target: float) -> float:
    """The x at which the curve first reaches the target; infinity where it never does."""
    for i, (x, y) in enumerate(curve):
        if y >= target:
            if i == 0:
                return x
            before_x, before_y = curve[i - 1]
            return before_x + (x - before_x) * (target - before_y) / (y - before_y)
    return math.inf


def value_at(curve: Points, x: float) -> float:
    """On the line between the points about an x that the curve has."""
    return float(np.interp(x, [x for x, _ in curve], [y for _, y in curve]))


def band(curves: Sequence[Points]) -> Band:
    """Of curves with at least a point each, to where the shortest ends.

    Where they have not the same x it is at 101 places, by linear interpolation.
    """
    start, end = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    if end < start:
        return Band()
    every = [tuple(x for x, _ in curve if start <= x <= end) for curve in curves]
    same = len(set(every)) == 1
    x = list(every[0]) if same else np.linspace(start, end, _GRID).tolist()
    at = np.array([[value_at(curve, place) for place in x] for curve in curves])
    return Band(tuple(x), *(tuple(line.tolist()) for line in (at.mean(0), at.min(0), at.max(0))))


LEVEL = 0.95
"""The share of resamples inside an interval."""

_MOST_COUNTED = 7

NUM_DRAWN = 10_000
"""Resamples where they are not counted one by one."""

Distribution = list[tuple[float, float]]
"""Values with their probabilities."""


@dataclass(frozen=True)
class Interval:
    """A statistic of `num` seeds and its interval; the ends are NaN where nothing can be said.

    `num_finite` counts seeds that are not infinite: that have come to it at all.
    """

    value: float
    low: float
    high: float
    num: int
    num_finite: int


def mean(values: Sequence[float]) -> Interval:
    """Of the seeds that are finite."""
    kept = [value for value in values if math.isfinite(value)]
    return _interval(kept, _mean, num=len(values))


def median(values: Sequence[float]) -> Interval:
    """Of seeds that may be infinite, such as the cost of what is never reached."""
    return _interval([value for value in values if not math.isnan(value)], _median, len(values))


def ratio(values: Sequence[float], to: Sequence[float]) -> Interval:
    """The median over the median of others, resampled independently.

    Where both are infinite the ratio could be anything, and counts against either end.
    """
    num = min(len(values), len(to))
    finite = min(sum(map(math.isfinite, values)), sum(map(math.isfinite, to)))
    if not values or not to:
        return Interval(math.nan, math.nan, math.nan, num, finite)
    value = _ratio(_median(values), _median(to))
    if min(len(values), len(to)) < 2:
        return Interval(value, math.nan, math.nan, num, finite)
    ratios = [
        (_ratio(above, below), p * q)
        for (above, p), (below, q) in product(
            _resample(values, _median), _resample(to, _median)
        )
    ]  # fmt: skip
    low = _percentile([(0.0 if math.isnan(x) else x, p) for x, p in ratios], (1 - LEVEL) / 2)
    high = _percentile([(math.inf if math.isnan(x) else x, p) for x, p in ratios], (1 + LEVEL) / 2)
    return Interval(value, low, high, num, finite)


def _interval(values: Sequence[float], statistic: "_Statistic", num: int) -> Interval:
    finite = sum(map(math.isfinite, values))
    if not values:
        return Interval(math.nan, math.nan, math.nan, num, 0)
    if len(values) == 1:
        return Interval(statistic(values), math.nan, math.nan, num, finite)
    distribution = _resample(values, statistic)
    low, high = (_percentile(distribution, (1 + sign * LEVEL) / 2) for sign in (-1, 1))
    return Interval(statistic(values), low, high, num, finite)


_Statistic = Callable[[Sequence[float]], float]


def _resample(values: Sequence[float], statistic: _Statistic) -> Distribution:
    """What the statistic is over all resamples, each value once."""
    shares: dict[float, float] = {}
    for sample, probability in _samples(sorted(values)):
        value = statistic(sample)
        shares[value] = shares.get(value, 0.0) + probability
    return sorted(shares.items())


def _samples(values: Sequence[float]) -> Sequence[tuple[Sequence[float], float]]:
    num = len(values)
    if num > _MOST_COUNTED:
        drawn = Draws(0, "bootstrap", 0, torch.arange(NUM_DRAWN)).uniform((num,))
        places = (drawn * num).long().clamp(max=num - 1).tolist()
        return [([values[i] for i in row], 1 / NUM_DRAWN) for row in places]
    whole = []
    for row in combinations_with_replacement(range(num), num):
        # Of a multiset with counts c there are n! / (c_1! ... c_n!) orders, of n^n in all.
        orders = math.factorial(num)
        for i in range(num):
            orders //= math.factorial(row.count(i))
        whole.append(([values[i] for i in row], orders / num**num))
    return whole


def _percentile(distribution: Distribution, share: float) -> float:
    """The least value that at least this share is not above."""
    total = 0.0
    for value, probability in sorted(distribution):
        total += probability
        if total >= share - 1e-12:
            return value
    return max(value for value, _ in distribution)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _median(values: Sequence[float]) -> float:
    """Of an even number the mean of the two in the middle: infinite where either is."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _ratio(above: float, below: float) -> float:
    """NaN where both are infinite, or both 0."""
    if below == 0:
        return math.nan if above == 0 else math.inf
    return above / below
