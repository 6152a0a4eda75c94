"""Block matching in float64, written block by block from its definition."""

import numpy as np


def matches(video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances in parts of the longer side and least differences: [pairs, rows, columns] each.

    Of a video [frames, 3, height, width] of at most 256 pixels.
    """
    frames, _, height, width = video.shape
    longer = max(height, width)
    block = min(max(4, round(longer / 16)), height, width)
    reach = max(1, round(longer * 0.05))
    shape = (frames - 1, height // block, width // block)
    distance, error = np.zeros(shape), np.zeros(shape)
    for t, row, column in np.ndindex(*shape):
        ys = np.arange(row * block, (row + 1) * block)
        xs = np.arange(column * block, (column + 1) * block)
        here = video[t + 1][:, ys][:, :, xs]

        def difference(dy: int, dx: int, t: int = t, ys=ys, xs=xs, here=here) -> float:
            up, left = (ys - dy).clip(0, height - 1), (xs - dx).clip(0, width - 1)
            return float(np.abs(here - video[t][:, up][:, :, left]).mean())

        around = range(-reach, reach + 1)
        found = min((difference(dy, dx), dy * dy + dx * dx) for dy in around for dx in around)
        still = difference(0, 0)
        error[t, row, column] = found[0]
        if found[0] <= still / 2 and still > 1 / 255:
            distance[t, row, column] = found[1] ** 0.5 / longer
    return distance, error
