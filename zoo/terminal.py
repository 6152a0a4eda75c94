"""The terminal: what is printed is shown and not run."""

import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from zoo.errors import visible, visible_lines


def say(*lines: object, err: bool = False) -> None:
    """Prints each on a line of its own, at once."""
    stream = sys.stderr if err else sys.stdout
    stream.writelines(f"{visible(str(line))}\n" for line in lines)
    stream.flush()


_UNLIMITED = 100_000
"""Columns where no terminal has an edge."""


class Terminal(Console):
    """A console for text of others: no markup, no emoji by name, no highlights."""

    def __init__(self, *, soft_wrap: bool = False) -> None:
        """As wide as the terminal, or as COLUMNS says, if not 0; a pipe and a file cut nothing.

        `soft_wrap` leaves long lines to the terminal.
        """
        super().__init__(soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)
        is_said = os.environ.get("COLUMNS") not in (None, "", "0")
        if not self.is_terminal and not is_said:
            self.width = _UNLIMITED
        elif self.width == 0:
            # What a terminal sets that does not know its size: shutil asks the system, as rich
            # does without COLUMNS.
            self.width = shutil.get_terminal_size().columns

    def render_str(self, text: str, **options: Any) -> Text:
        """A text to print, or a table's cell, which is as wide as what is shown."""
        return super().render_str(visible_lines(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments to write; those of text made visible."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible_lines(text), style)
