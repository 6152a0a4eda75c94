"""Which way one box lies from another."""

import numpy as np
import pytest

from zoo.reward.geneval.position import relations

MIDDLE = (40.0, 40.0, 60.0, 60.0)


def moved(x, y):
    return (40.0 + x, 40.0 + y, 60.0 + x, 60.0 + y)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (-30, 0, {"left of"}),
        (30, 0, {"right of"}),
        (0, -30, {"above"}),
        (0, 30, {"below"}),
        (-30, -30, {"left of", "above"}),
        (30, 30, {"right of", "below"}),
        (0, 0, set()),
        (4, 4, set()),  # within a tenth of both sizes
        (-8, 0, set()),  # 4 of 8 are left: half of the offset, and not over it
        (-8.1, 0, {"left of"}),
        (30, 12, {"right of"}),
    ],
)
def test_boxes_lie_where_their_centers_say(x, y, said):
    assert relations(moved(x, y), MIDDLE, 0.1) == said


def test_a_larger_threshold_says_less():
    assert relations(moved(-30, 0), MIDDLE, 0.3) == {"left of"}
    assert relations(moved(-30, 0), MIDDLE, 0.5) == set()
    assert relations(moved(-1, 0), MIDDLE, 0.0) == {"left of"}


def test_large_boxes_must_be_further_apart():
    assert relations((0, 0, 10, 10), (12, 0, 22, 10), 0.1) == {"left of"}
    assert relations((0, 0, 100, 10), (12, 0, 112, 10), 0.1) == set()


def reference(a, b, threshold):
    """Written out for arrays of the two corners, in float64."""
    a, b = (np.asarray(box, dtype=np.float64).reshape(2, 2) for box in (a, b))
    offset = a.mean(0) - b.mean(0)
    sizes = (a[1] - a[0]) + (b[1] - b[0])
    left = np.sign(offset) * np.clip(np.abs(offset) - threshold * sizes, 0, None)
    if np.abs(left).max() < 1e-3:
        return set()
    x, y = left / np.sqrt((offset**2).sum())
    names = [(x < -0.5, "left of"), (x > 0.5, "right of"), (y < -0.5, "above"), (y > 0.5, "below")]
    return {name for holds, name in names if holds}


def test_relations_agree_with_a_float64_version():
    draw = np.random.RandomState(0)
    seen = set()
    for _ in range(2000):
        corners = draw.randint(0, 64, (2, 2, 2))
        boxes = np.sort(corners, axis=1) + np.array([[[0, 0], [1, 1]]])
        a, b = (tuple(map(float, box.reshape(4))) for box in boxes)
        found = relations(a, b, 0.1)
        assert found == reference(a, b, 0.1)
        seen.add(found)
    assert len(seen) == 9
