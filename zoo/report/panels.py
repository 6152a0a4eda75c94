"""A panel for each of many lines, with all others in grey behind it: one figure would hide them."""

import math
from collections.abc import Sequence
from typing import Any

from zoo.report.plots import (
    COLOURS,
    LARGE,
    SETTINGS,
    Drawing,
    Series,
    draw,
    draw_marks,
    require_points,
    set_ticks,
)

_COLUMNS = 3
_ROW, _AXIS = 0.95, 0.3
"""Inches that a row of panels is high, and that the axis below them takes."""

_BEHIND = "#c8c8c8"


def panels(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    marks: Sequence[float] = (),
) -> Drawing:
    """A panel for each line, three in a row, with its name above and the same axes for all.

    Arguments and errors are those of `plots.lines`, which draws few in one figure.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    require_points(series, y_label)
    rows = math.ceil(len(series) / _COLUMNS)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(LARGE[0], _ROW * rows + _AXIS), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        every = list(grid.flat)
        for axes, line in zip(every, series, strict=False):
            _fill(axes, line, series, marks)
        for axes in every[len(series) :]:
            axes.remove()
        # A user's names may have dollars in them, which are no mathematics here.
        figure.supxlabel(x_label, fontsize=9, parse_math=False)
        figure.supylabel(y_label, fontsize=9, parse_math=False)
    first = figure.axes[0]
    if y_range is not None:
        first.set_ylim(*y_range)
    set_ticks(first, (3, 3))
    # Where the last row is short, those above what is missing have the axis' numbers.
    for axes in figure.axes[len(series) - _COLUMNS :]:
        axes.tick_params(labelbottom=True)
    return Drawing(figure)


def _fill(axes: Any, line: Series, series: Sequence[Series], marks: Sequence[float]) -> None:
    for other in series:
        if other is not line:
            axes.plot(other.x, other.y, color=_BEHIND, linewidth=0.7, zorder=1.5)
    draw_marks(axes, marks)
    draw(axes, line)
    colour = COLOURS[line.style % len(COLOURS)]
    axes.set_title(line.name, fontsize=8, color=colour, loc="left", pad=2, parse_math=False)
    axes.tick_params(labelsize=7)
