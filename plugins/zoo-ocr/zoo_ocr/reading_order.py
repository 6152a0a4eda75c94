"""The order in which a person reads boxes of text: rows from top to bottom, each left to right.

Departs from rapidocr and PaddleOCR, which sort by the upper left corner with a threshold of 10
pixels and so swap the words of a tilted line: rows here follow the tilt, and the threshold follows
the height of the letters.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = NDArray[np.float64]
"""Corners [4, 2] in pixels, x then y, clockwise from the upper left."""


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """The boxes' positions in the order of reading."""
    if not boxes:
        return []
    corners = np.stack(boxes)
    along = _direction(corners)
    down = np.array([-along[1], along[0]])
    centres = corners.mean(axis=1)
    heights = np.linalg.norm(corners[:, 3] - corners[:, 0], axis=1)
    depth, reach = centres @ down, centres @ along
    rows: list[list[int]] = []
    for i in np.argsort(depth, kind="stable").tolist():
        if rows and _same_row(i, rows[-1], depth, heights):
            rows[-1].append(i)
        else:
            rows.append([i])
    return [i for row in rows for i in sorted(row, key=lambda i: float(reach[i]))]


def _direction(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit vector of reading: the boxes' upper and lower edges, long ones counting more."""
    edges = (corners[:, 1] - corners[:, 0] + corners[:, 2] - corners[:, 3]).sum(axis=0)
    length = float(np.linalg.norm(edges))
    return edges / length if length > 0.0 else np.array([1.0, 0.0])


def _same_row(
    i: int, row: Sequence[int], depth: NDArray[np.float64], heights: NDArray[np.float64]
) -> bool:
    """Whether a box is beside those of a row: centres less than half a letter's height apart."""
    apart = abs(depth[i] - depth[row].mean())
    return bool(apart < 0.5 * min(heights[i], heights[row].mean()))
