"""What a person sees during a run: a progress bar on a terminal, plain lines elsewhere."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


class Bar:
    """Counts the steps of a phase, such as micro-batches, while someone iterates over them."""

    def __init__(self, advance: Callable[[], None]) -> None:
        """Calls `advance` after each step."""
        self._advance = advance

    def over(self, steps: Iterable[T]) -> Iterator[T]:
        """The same steps."""
        for step in steps:
            yield step
            self._advance()


NO_BAR = Bar(lambda: None)
"""Where nobody looks."""


class Display:
    """Shows a run's epochs: each that was evaluated on a terminal, under a bar; each elsewhere."""

    def __init__(
        self, name: str, epochs: int, first_epoch: int, *, console: Console | None = None
    ) -> None:
        self._console = console or Console(highlight=False)
        self._epochs = epochs
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("reward {task.fields[reward]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            # Of the whole run: rich forgets after 30 s, and epochs may take minutes.
            speed_estimate_period=float("inf"),
        )
        self._task = self._progress.add_task(
            name, total=epochs, completed=first_epoch, reward="..."
        )
        self._progress.start()

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """An epoch's line, and the bar moved on."""
        done = int(metrics["epoch"])
        evaluated = {key: value for key, value in metrics.items() if key.startswith("eval/")}
        if evaluated:
            self._first = self._first or evaluated
            self._last = evaluated
        if evaluated or not self._console.is_terminal:
            self.say(line(metrics, self._epochs, self._console.width))
        self._progress.update(self._task, completed=done, reward=short(metrics["reward"]))

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line that is seen."""
        self._console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def close(self) -> None:
        """Takes the bar down, and says from where to where the evaluation went."""
        self._progress.stop()
        if self._last is not self._first:
            for key, value in self._last.items():
                # A number that the evaluated prompts never have, such as another kind's, is NaN.
                if key in self._first and not math.isnan(value):
                    self.say(f"{key:32} {short(self._first[key]):>7} -> {short(value)}")


@contextmanager
def counted(
    what: str, total: int, *, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number done so far: a bar on a terminal, nothing elsewhere."""
    console = console or Console(highlight=False)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=float("inf"),
        transient=True,
    )
    task = progress.add_task(what, total=total)
    with progress:
        yield lambda done: progress.update(task, completed=min(done, total))


def line(metrics: Mapping[str, float], epochs: int, width: int) -> str:
    """An epoch in as many of its numbers as fit, the most telling first."""
    found = [f"epoch {int(metrics['epoch']):{len(str(epochs))}}/{epochs}"]
    found.append(f"reward {short(metrics['reward'])}")
    if "images_per_second" in metrics:
        found.append(f"{short(metrics['images_per_second'])} images/s")
    mark = "eval: "
    for key, value in metrics.items():
        if key.startswith("eval/"):
            found.append(f"{mark}{key.removeprefix('eval/')} {short(value)}")
            mark = ""
    while len("  ".join(found)) > width and len(found) > 2:
        found.pop()
    return "  ".join(found)


def short(value: float) -> str:
    """Three significant digits."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:g}" if abs(rounded) < 1000 else f"{rounded:,.0f}"
