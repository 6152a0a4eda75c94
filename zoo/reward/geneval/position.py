"""Which way one object lies from another, by their boxes.

GenEval (Ghosh et al. 2023, arXiv 2310.11513, `relative_position` of its evaluation code).
"""

from math import copysign, hypot

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, the last two behind the last pixel."""


def relations(box: Box, other: Box, threshold: float) -> frozenset[str]:
    """How the first box lies from the other: up to two of left of, right of, above and below.

    The offset of the centres is shortened along each axis by `threshold` times the sum of both
    sizes, and what is left is compared with the length of the whole offset: over half of it counts.
    Nothing is said of boxes that nearly share their centre.
    """
    offset, left = [], []
    for axis in (0, 1):
        away = (box[axis] + box[axis + 2] - other[axis] - other[axis + 2]) / 2
        sizes = abs(box[axis + 2] - box[axis]) + abs(other[axis + 2] - other[axis])
        offset.append(away)
        left.append(copysign(max(abs(away) - threshold * sizes, 0.0), away))
    if max(abs(left[0]), abs(left[1])) < 1e-3:
        return frozenset()
    right, down = (part / hypot(*offset) for part in left)
    holding = {
        "left of": right < -0.5,
        "right of": right > 0.5,
        "above": down < -0.5,
        "below": down > 0.5,
    }
    return frozenset(relation for relation, holds in holding.items() if holds)
