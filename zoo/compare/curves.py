"""Curves of runs: where one first reaches a target, and several as one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    at = np.array([np.interp(x, [x for x, _ in each], [y for _, y in each]) for each in curves])
    return Band(tuple(x), *(tuple(each.tolist()) for each in (at.mean(0), at.min(0), at.max(0))))
