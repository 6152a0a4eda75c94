"""A page of sections, as HTML and as Markdown."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.report.plots import Drawing
from zoo.run.moving import Picture


def yaml(data: object) -> str:
    """As a recipe would have it."""
    from ruamel.yaml import YAML

    out = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.width = 100
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(data, out)
    return out.getvalue()


WARNING, MISSING = "warning", "missing"
"""What a note may be besides plain text."""


@dataclass(frozen=True)
class Note:
    """A paragraph; `kind` is WARNING, MISSING or nothing."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first column is at the left, numbers are at the right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True

    @property
    def num_columns(self) -> int:
        """Of the widest row."""
        return max(map(len, self.rows), default=len(self.head))


@dataclass(frozen=True)
class Figure:
    """A plot or a picture. `name` is that of its file; `alt` tells what it shows to who sees none.

    A wide one has the page's whole width.
    """

    name: str
    caption: str
    alt: str
    content: Drawing | Picture
    wide: bool = False


@dataclass(frozen=True)
class Figures:
    """Figures beside each other: as many as fit, of large ones two."""

    figures: tuple[Figure, ...]
    large: bool = False


@dataclass(frozen=True)
class Tiles:
    """Images in rows, each row and column with its heading; None where there is no image."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture | None, ...]], ...]


@dataclass(frozen=True)
class Listing:
    """A text as it is, such as a recipe, folded away under its title."""

    title: str
    text: str


Block = Note | Table | Figures | Tiles | Listing


@dataclass(frozen=True)
class Section:
    """A heading and what is under it; `anchor` is its name in links."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A report: its title, a sentence on it, its sections.

    `source` is the command that its numbers and pictures are from: each section has it beside them.
    """

    title: str
    about: str
    source: str
    sections: tuple[Section, ...]


def missing(text: str) -> Note:
    """Says what a report has not, and why."""
    return Note(text, MISSING)


def add_figures(blocks: list[Block], figures: Sequence[Figure], *, none: str) -> None:
    """Adds them to a section's blocks; `none` is said where it has nothing at all."""
    if figures:
        blocks.append(Figures(tuple(figures)))
    elif not blocks:
        blocks.append(missing(none))


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits; `n/a` for what is no finite number."""
    if value is None or not math.isfinite(value):
        return "n/a"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 15 or size < -4:
        return f"{value:.{digits - 1}e}"
    return f"{round(value, digits - 1 - size):,.{max(0, digits - 1 - size)}f}"


def count(value: float | None) -> str:
    """A whole number with its thousands apart; `n/a` for what is no finite number."""
    return f"{value:,.0f}" if value is not None and math.isfinite(value) else "n/a"


def with_error(value: float | None, error: float | None) -> str:
    """A mean and its standard error, both to the error's second digit."""
    if value is None or error is None or not math.isfinite(value) or not math.isfinite(error):
        return number(value)
    if error <= 0:
        return f"{number(value)} ± 0"
    decimals = min(8, max(0, 1 - math.floor(math.log10(error))))
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, with three digits."""
    if seconds is None or not math.isfinite(seconds):
        return "n/a"
    if seconds < 120:
        return f"{number(seconds)} s"
    if seconds < 7200:
        return f"{number(seconds / 60)} min"
    return f"{number(seconds / 3600)} h"
