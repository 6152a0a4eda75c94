"""Edit distances: insertions, deletions and substitutions of one character cost 1 each.

Levenshtein 1966; the distance to the nearest part is the approximate search of Sellers 1980.
"""


def edit_distance(read: str, wanted: str) -> int:
    """The fewest edits that turn all of `read` into `wanted`."""
    return _row(read, wanted, free_start=False)[-1]


def nearest_edit_distance(read: str, wanted: str) -> int:
    """The fewest edits that turn some part of `read` into `wanted`; the rest costs nothing."""
    return min(_row(read, wanted, free_start=True))


def _row(read: str, wanted: str, *, free_start: bool) -> list[int]:
    """The distance of `wanted` to the first 0, 1, ... characters of `read`, or to their endings."""
    row = [0 if free_start else j for j in range(len(read) + 1)]
    for i, letter in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(read, start=1):
            best = min(diagonal + (letter != other), row[j] + 1, row[j - 1] + 1)
            diagonal, row[j] = row[j], best
    return row
