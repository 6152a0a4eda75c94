"""A comparison's curves: a line a contender, the mean over its seeds, the band their range."""

import math
from collections.abc import Iterator, Mapping, Sequence

from zoo.compare.results import AXES, Comparison, over_seeds
from zoo.report.curves import slug
from zoo.report.monitors import MONITORS
from zoo.report.page import Block, Figure, Figures, Note, Section, missing
from zoo.report.panels import panels
from zoo.report.plots import COLOURS, Drawing, Series, lines

_LABELS: Mapping[str, str] = {
    "seconds": "seconds of collecting and learning",
    "forwards": "network forwards",
    "images": "training images",
    "steps": "optimizer steps",
}

_MOST_TOGETHER = len(COLOURS)
"""Lines in one figure; of more each has a panel of its own."""


def scores(comparison: Comparison) -> Section:
    """Every evaluated reward against every axis, with one y axis a reward."""
    says = (
        "Lines are means over seeds, bands the range of the seeds (not an interval), up to where "
    )
    says += "the shortest run ends. Against seconds, seeds are evaluated at different places: "
    says += "there the lines are interpolated, and a marker is no evaluation."
    if _most_runs(comparison) == 1:
        says = "One seed each: there are no bands, and nothing is said of other seeds."
    blocks: list[Block] = [Note(says)]
    for label in comparison.labels:
        targets = [target.at_least for target in comparison.targets if target.label == label]
        figures = list(_against_axes(comparison, label, targets))
        if figures:
            blocks += [
                Note(f"{label}: {who_trains(comparison, label)}."),
                Figures(tuple(figures), True),
            ]
        else:
            blocks.append(missing(f"{label} has no finite value."))
    if len(blocks) == 1:
        blocks = [missing("No run has an evaluation.")]
    return Section("curves", "Scores against cost", tuple(blocks))


def monitors(comparison: Comparison) -> Section:
    """What tells of cheating, against training images."""
    figures, absent = [], []
    for key, says in MONITORS.items():
        drawn = [line for line in _series(comparison, f"monitor/{key}", "images") if line.num_drawn]
        if not drawn:
            absent.append(key)
            continue
        name = f"monitor_{key}"
        figures.append(_figure(name, key, "images", drawn, f"{key}: {says}."))
    blocks: list[Block] = []
    if absent:
        blocks.append(missing(f"Not recorded by any run: {', '.join(absent)}."))
    if figures:
        blocks.append(Figures(tuple(figures), large=True))
    return Section("monitor", "What images are like, and drift", tuple(blocks))


def who_trains(comparison: Comparison, label: str) -> str:
    """Who trains on a label, in words."""
    on = [contender.name for contender in comparison.contenders if contender.trains(label)]
    if not on:
        return "held out, no contender trains on it"
    ran = [contender.name for contender in comparison.contenders if contender.runs]
    return "trained on" if on == ran else f"trained on by {', '.join(on)}; held out by the others"


def _against_axes(comparison: Comparison, label: str, targets: Sequence[float]) -> Iterator[Figure]:
    every = {axis: _series(comparison, f"eval/{label}", axis) for axis in AXES}
    heights = [y for drawn in every.values() for line in drawn for y in (*line.low, *line.high)]
    heights = [y for y in (*heights, *targets) if math.isfinite(y)]
    if not heights:
        return
    pad = 0.05 * (max(heights) - min(heights)) or 0.05
    y_range = (min(heights) - pad, max(heights) + pad)
    for axis, drawn in every.items():
        kept = [line for line in drawn if line.num_drawn]
        if not kept:
            continue
        caption = f"{label} against {_LABELS[axis]}"
        caption += "; dotted: targets." if targets else "."
        name = f"{slug(label)}_{axis}"
        yield _figure(name, label, axis, kept, caption, y_range, targets)


def _figure(
    name: str,
    y_label: str,
    axis: str,
    drawn: Sequence[Series],
    caption: str,
    y_range: tuple[float, float] | None = None,
    targets: Sequence[float] = (),
) -> Figure:
    labels = {"x_label": _LABELS[axis], "y_label": y_label}
    content: Drawing = (
        lines(drawn, **labels, y_range=y_range, marks=targets, large=True)
        if len(drawn) <= _MOST_TOGETHER
        else panels(drawn, **labels, y_range=y_range, marks=targets)
    )
    if len(drawn) > _MOST_TOGETHER:
        caption += " Grey: the others."
    ends = (f"{line.name} ends at {_last(line.y):.3g}" for line in drawn)
    return Figure(name, caption, f"{y_label} against {_LABELS[axis]}: {'; '.join(ends)}", content)


def _last(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), math.nan)


def _series(comparison: Comparison, key: str, axis: str) -> list[Series]:
    """A line for each contender that has runs; its style is its place in the suite."""
    series = []
    for style, contender in enumerate(comparison.contenders):
        band = over_seeds(contender, key, axis)
        if band.x:
            series.append(Series(contender.name, band.x, band.mean, band.low, band.high, style))
    return series


def _most_runs(comparison: Comparison) -> int:
    return max((len(contender.runs) for contender in comparison.contenders), default=0)
