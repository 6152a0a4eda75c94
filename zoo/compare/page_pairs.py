"""A comparison's contenders two by two, seed by seed: who ends above whom.

Runs of one seed have the same prompts and the same noise to begin with, so what one seed has easier
is no part of the difference.
"""

from collections.abc import Iterator

from zoo.compare.results import (
    Comparison,
    Contender,
    difference_over_prompts,
    differences,
    final,
)
from zoo.compare.statistics import LEVEL, Interval, mean
from zoo.report.page import Table, number


def pairs(comparison: Comparison) -> Iterator[Table]:
    """By the first label's last score; nothing where there are not two seeds of two contenders."""
    for label in comparison.labels[:1]:
        key = f"eval/{label}"
        run = [each for each in comparison.contenders if final(each, key).num_finite > 1]
        if len(run) < 2:
            return
        run.sort(key=lambda each: -final(each, key).value)
        yield _to_first(comparison, run, key, label)
        if len(run) > 2:
            yield _matrix(run, key, label)


def _to_first(comparison: Comparison, run: list[Contender], key: str, label: str) -> Table:
    first = comparison.contenders[0] if comparison.contenders[0] in run else run[0]
    rows: list[tuple[str, ...]] = []
    others: list[Interval] = []
    for each in run:
        if each is not first:
            found = list(differences(each, first, key).values())
            rows.append((each.name, _difference(found), _ahead(found)))
            others.append(difference_over_prompts(each, first, label))
    head = ["contender", f"above {first.name} by", "seeds ahead"]
    caption = f"{label} at the last evaluation less that of {first.name} with the same seed: the "
    caption += f"mean over seeds with its {LEVEL:.0%} bootstrap interval, and how many are above 0"
    if any(other.num for other in others):
        caption += "; and the interval over seeds and prompts at once"
        head.insert(2, "over prompts too")
        rows = [(*row[:2], _ends(other), row[2]) for row, other in zip(rows, others, strict=True)]
    return Table(f"{caption}.", tuple(head), tuple(rows))


def _matrix(run: list[Contender], key: str, label: str) -> Table:
    """Who is ahead in how many seeds; the head has numbers, for names are long."""
    most = max(final(each, key).num_finite for each in run)

    def cell(row: Contender, column: Contender) -> str:
        if row is column:
            return ""
        return _ahead(list(differences(row, column, key).values())).removesuffix(f" of {most}")

    rows = tuple(
        (f"{i}. {row.name}", *(cell(row, column) for column in run)) for i, row in enumerate(run, 1)
    )
    caption = f"In how many of {most} seeds the row ends above the column, by {label}. Of two that "
    caption += "are equal one is ahead in all of five seeds once in 16 by chance, in all of three "
    caption += "once in 4."
    return Table(caption, ("contender", *(str(i) for i in range(1, len(run) + 1))), rows)


def _difference(found: list[float]) -> str:
    if len(found) < 2:
        return "n/a"
    interval = mean(found)
    return f"{_signed(interval.value)} {_ends(interval)}"


def _ends(interval: Interval) -> str:
    if interval.num == 0:
        return "n/a"
    return f"[{_signed(interval.low)}, {_signed(interval.high)}]"


def _signed(value: float) -> str:
    return f"+{number(value, 2)}" if value > 0 else number(value, 2)


def _ahead(found: list[float]) -> str:
    """A tie is ahead for neither."""
    return f"{sum(difference > 0 for difference in found)} of {len(found)}"
