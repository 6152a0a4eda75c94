"""Numbers of several seeds as one: their mean or median, and the range from least to most."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.report.curves import finite
from zoo.run_record import RunRecord

Points = list[tuple[float, float]]
"""A piecewise linear curve; x does not fall."""

_GRID = 101


@dataclass(frozen=True)
class Spread:
    """A middle and the range of a number's finite values, of `num` seeds."""

    middle: float
    low: float
    high: float
    num_finite: int
    num: int


def points(run: RunRecord, key: str, axis: str) -> Points:
    """A metric against another, without what is not finite."""
    found = [(finite(line.get(axis)), finite(line.get(key))) for line in run.metrics]
    return [(x, y) for x, y in found if math.isfinite(x) and math.isfinite(y)]


def band(
    curves: Sequence[Points],
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Common x, mean, least and most, to where the shortest curve ends.

    Where the curves have not the same x, at 101 places by linear interpolation.
    """
    ends = min(curve[-1][0] for curve in curves)
    start = max(curve[0][0] for curve in curves)
    every = [tuple(x for x, _ in curve if start <= x <= ends) for curve in curves]
    if ends < start:
        return [], [], [], []
    shared = len(set(every)) == 1
    x = list(every[0]) if shared else np.linspace(start, ends, _GRID).tolist()
    at = np.array([np.interp(x, [x for x, _ in each], [y for _, y in each]) for each in curves])
    return x, at.mean(0).tolist(), at.min(0).tolist(), at.max(0).tolist()


def crossing(curve: Points, target: float) -> float:
    """The x at which the curve first reaches the target; infinity where it never does."""
    for i, (x, y) in enumerate(curve):
        if y >= target:
            if i == 0:
                return x
            before_x, before_y = curve[i - 1]
            return before_x + (x - before_x) * (target - before_y) / (y - before_y)
    return math.inf


def mean(values: Sequence[float]) -> Spread:
    """Of the finite values; NaN where there is none."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return Spread(math.nan, math.nan, math.nan, 0, len(values))
    return Spread(statistics.fmean(kept), min(kept), max(kept), len(kept), len(values))


def median(values: Sequence[float]) -> Spread:
    """Where infinity stands for never: the median may be infinite, and so may an end."""
    if not values:
        return Spread(math.nan, math.nan, math.nan, 0, 0)
    num_finite = sum(map(math.isfinite, values))
    # The upper of two in the middle: no mean of a number and of never.
    middle = (
        statistics.median_high(values) if num_finite < len(values) else statistics.median(values)
    )
    return Spread(middle, min(values), max(values), num_finite, len(values))
