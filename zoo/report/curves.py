"""Numbers of a run's epochs as lines."""

import math
from collections.abc import Iterable, Mapping, Sequence

from zoo.report.page import Figure
from zoo.report.plots import Series, lines
from zoo.storage.files import or_nan

Lines = Sequence[Mapping[str, float | None]]


def values(metrics: Lines, key: str) -> tuple[list[float], list[float]]:
    """The epochs at which `key` was recorded, and it there; NaN where it was not finite."""
    recorded = [line for line in metrics if key in line]
    return [or_nan(line["epoch"]) for line in recorded], [or_nan(line[key]) for line in recorded]


def series(metrics: Lines, key: str, name: str = "", style: int = 0, error: str = "") -> Series:
    """A metric by epoch, with a band above and below as wide as the metric `error`."""
    x, y = values(metrics, key)
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    if error:
        errors = dict(zip(*values(metrics, error), strict=True))
        spread = [errors.get(epoch, math.nan) for epoch in x]
        if any(math.isfinite(width) for width in spread):
            low = tuple(a - b for a, b in zip(y, spread, strict=True))
            high = tuple(a + b for a, b in zip(y, spread, strict=True))
    return Series(name, x, y, low, high, style)


def figure(
    drawn: Iterable[Series],
    y_label: str,
    *,
    name: str,
    caption: str,
    marks: Sequence[float] = (),
) -> Figure | None:
    """The lines that have a point over epochs, or None where none has; `marks` are heights."""
    kept = [line for line in drawn if line.num_drawn]
    if not kept:
        return None
    return Figure(
        name,
        caption,
        f"{y_label} by epoch: {'; '.join(map(_tell, kept))}",
        lines(kept, x_label="epoch", y_label=y_label, marks=marks),
    )


def _tell(line: Series) -> str:
    points = [value for value in line.y if math.isfinite(value)]
    return f"{line.name} from {points[0]:.3g} to {points[-1]:.3g}".strip()


def slug(text: str) -> str:
    """Safe in a file's name and an element's id; different texts may come out alike."""
    kept = "".join(c if c.isascii() and c.isalnum() else "_" for c in text.lower())
    return kept.strip("_")[:48] or "figure"
