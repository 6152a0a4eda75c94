"""Plots for reports: small figures that say what they show, as SVG or PNG files.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which the colour-blind tell
apart; a series has a dash and a marker of its own besides. The same numbers give the same bytes.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Without the palette's yellow, which does not show on white."""

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
GREY = "#666666"
_MOST_MARKED = 30
"""Points of a line that have a marker each; of a longer line ten have."""

SETTINGS = {
    "svg.hashsalt": "zoo",
    "svg.fonttype": "path",  # a reader's fonts may be wider than those the layout was made with
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.5,
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
"""The date of drawing would make other bytes of the same numbers."""

_ROW = 0.18
"""Inches that a legend's row is high."""

_SMALL, LARGE = (3.5, 2.35), (4.2, 2.8)


@dataclass(frozen=True)
class Series:
    """A line of points, with a band from `low` to `high` where they are given; NaN is a gap.

    `style` picks colour, dash and marker: the same number looks the same in every figure.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    style: int = 0

    @property
    def num_drawn(self) -> int:
        """Points that have both coordinates."""
        return sum(
            math.isfinite(x) and math.isfinite(y) for x, y in zip(self.x, self.y, strict=True)
        )


@dataclass(frozen=True)
class Drawing:
    """A figure that has been drawn."""

    figure: Any

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on a page, in pixels of CSS: 96 to the inch."""
        width, height = self.figure.get_size_inches()
        return round(96 * width), round(96 * height)

    def svg(self) -> bytes:
        """A whole SVG file."""
        return self._save(format="svg", metadata=_NO_METADATA)

    def png(self) -> bytes:
        """The same at twice its size on the page, in 128 colours."""
        from PIL import Image

        out = io.BytesIO()
        drawn = Image.open(io.BytesIO(self._save(format="png", dpi=200)))
        drawn.convert("RGB").quantize(128).save(out, "PNG", optimize=True)
        return out.getvalue()

    def _save(self, **options: Any) -> bytes:
        import matplotlib

        out = io.BytesIO()
        with matplotlib.rc_context(SETTINGS):
            self.figure.savefig(out, **options)
        return out.getvalue()


def lines(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    marks: Sequence[float] = (),
    large: bool = False,
) -> Drawing:
    """Lines over a common axis; the legend is above them, and none where a line has no name.

    Args:
        series: At least one with a point.
        x_label: With its unit.
        y_label: With its unit.
        y_range: The y axis' ends, where several figures are to share them.
        marks: Heights of dotted lines across: targets.
        large: For a place of two beside each other, not of three.

    Raises:
        ValueError: there is no point to draw.
    """
    require_points(series, y_label)
    figure, axes = _figure(x_label, y_label, LARGE if large else _SMALL)
    draw_marks(axes, marks)
    drawn = [(line.name, draw(axes, line)) for line in series]
    if y_range is not None:
        axes.set_ylim(*y_range)
    _finish(figure, axes, drawn)
    return Drawing(figure)


def histograms(values: Sequence[tuple[str, Sequence[float]]], *, x_label: str) -> Drawing:
    """Shares of finite values over the same 20 bins, as outlines over each other.

    Raises:
        ValueError: none of them has a finite value.
    """
    finite = [(name, [v for v in of if math.isfinite(v)]) for name, of in values]
    every = [v for _, of in finite for v in of]
    if not every:
        raise ValueError(f"nothing to draw for {x_label}: give a finite value")
    low, high = min(every), max(every)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = [low + (high - low) * i / 20 for i in range(21)]
    figure, axes = _figure(x_label, "share of images (%)", _SMALL)
    drawn = []
    for style, (name, of) in enumerate(finite):
        if not of:
            continue
        colour = COLOURS[style % len(COLOURS)]
        counts = [0] * 20
        for value in of:
            counts[min(19, int((value - low) / (high - low) * 20))] += 1
        shares = [100 * count / len(of) for count in counts]
        axes.stairs(shares, edges, color=colour, alpha=0.12, fill=True)
        dash = _DASHES[style % len(_DASHES)]
        outline = axes.stairs(shares, edges, color=colour, linewidth=1.5, linestyle=dash)
        drawn.append((name, outline))
    _finish(figure, axes, drawn)
    return Drawing(figure)


def require_points(series: Sequence[Series], y_label: str) -> None:
    """Refuses, as a ValueError, what would be an empty figure."""
    if not any(line.num_drawn for line in series):
        raise ValueError(f"nothing to draw for {y_label}: give a series with a finite point")


def draw(axes: Any, line: Series) -> Any:
    """Draws a line in its style, and its band; returns what a legend shows of it."""
    colour = COLOURS[line.style % len(COLOURS)]
    if line.low:
        # Where a band is of one point, it has no width: an error bar shows it.
        finite = sum(map(math.isfinite, line.low))
        if finite == 1:
            axes.vlines(line.x, line.low, line.high, color=colour, alpha=0.5, linewidth=2.5)
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    [artist] = axes.plot(
        line.x,
        line.y,
        color=colour,
        linestyle=_DASHES[line.style % len(_DASHES)],
        marker=_MARKERS[line.style % len(_MARKERS)],
        markevery=1 if len(line.x) <= _MOST_MARKED else math.ceil(len(line.x) / 10),
    )
    return artist


def draw_marks(axes: Any, heights: Sequence[float]) -> None:
    """Dotted lines across."""
    for height in heights:
        axes.axhline(height, color=GREY, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)


def set_ticks(axes: Any, most: tuple[int, int]) -> None:
    """At most so many of x and of y, as `tick` writes them; whole numbers of epochs."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    integer = axes.get_xlabel().partition(" ")[0] in ("epoch", "epochs")
    axes.xaxis.set_major_locator(MaxNLocator(most[0], integer=integer))
    axes.yaxis.set_major_locator(MaxNLocator(most[1]))
    for axis in (axes.xaxis, axes.yaxis):
        largest = max(map(abs, axis.get_view_interval()))
        axis.set_major_formatter(FuncFormatter(lambda value, _, most=largest: tick(value, most)))


def tick(value: float, largest: float) -> str:
    """A tick of an axis that goes so far: at most six digits, thousands as 10k, millions as 2M."""
    sizes = ((1e9, "G"), (1e7, "M"), (1e4, "k"))
    letter = next((letter for size, letter in sizes if largest >= size), "")
    shown = value / {"G": 1e9, "M": 1e6, "k": 1e3, "": 1.0}[letter]
    return f"{shown:.6g}{letter if value else ''}".replace("-", "\N{MINUS SIGN}")


def _figure(x_label: str, y_label: str, inches: tuple[float, float]) -> tuple[Any, Any]:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
    # A user's names may have dollars in them, which are no mathematics here.
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    return figure, axes


def _finish(figure: Any, axes: Any, drawn: Sequence[tuple[str, Any]]) -> None:
    import matplotlib

    set_ticks(axes, (6, 5))
    shown = [(name, artist) for name, artist in drawn if name]
    if not shown:
        return
    names = [name for name, _ in shown]
    widest = max(map(len, names))
    columns = 3 if widest <= 12 else 2 if widest <= 24 else 1
    # The axes keep their height: rows of the legend come on top.
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + _ROW * (math.ceil(len(shown) / columns) - 1))
    with matplotlib.rc_context(SETTINGS):
        legend = figure.legend(
            [artist for _, artist in shown],
            names,
            loc="outside upper left",
            ncols=min(columns, len(shown)),
            frameon=False,
            fontsize=8.5,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
