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
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from zoo.errors import visible
from zoo.run.sink import Sink
from zoo.terminal import Terminal

T = TypeVar("T")

_PHASE = len("collecting")
"""The longest name of a phase: a column of one width, so that nothing jumps."""


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


_LOGGED = 80
"""Characters of an epoch's line where no terminal is."""

NO_BAR = Bar(lambda: None)
"""Where nobody looks."""


class Display(Sink):
    """Shows a run's epochs: each that was evaluated on a terminal, over bars; each elsewhere.

    One bar has the epochs, and under it one has the steps of the phase that goes on.
    """

    def __init__(
        self, name: str, epochs: int, first_epoch: int, *, console: Console | None = None
    ) -> None:
        """Of so many `epochs` that many are done."""
        self._console = console or Terminal()
        self._epochs = epochs
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._progress = _progress(self._console, TextColumn("{task.fields[note]}"))
        self._run = self._progress.add_task(
            name, total=epochs, completed=first_epoch, note="reward ..."
        )
        self._phase = self._progress.add_task("", visible=False, note="")
        self._progress.start()

    def record(self, metrics: Mapping[str, float]) -> None:
        """An epoch's line, and the bar moved on."""
        done = int(metrics["epoch"])
        evaluated = {key: value for key, value in metrics.items() if key.startswith("eval/")}
        if evaluated:
            self._first = self._first or evaluated
            self._last = evaluated
        if evaluated or not self._console.is_terminal:
            width = self._console.width if self._console.is_terminal else _LOGGED
            self.say(line(metrics, self._epochs, width))
        reward = short(metrics["reward"])
        self._progress.update(self._run, completed=done, note=f"reward {reward}")

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._print(visible(text))

    def warn(self, text: str, *, again: bool) -> None:
        """A line that is seen, once."""
        if not again:
            self._print(f"warning: {visible(text)}", style="yellow")

    def _print(self, text: str, style: str | None = None) -> None:
        if self._progress.live.is_started and not self._console.is_terminal:
            # The terminal was closed, and bars would fill the log that has its lines now.
            self._progress.stop()
            self._console = Console(highlight=False)
        self._console.print(text, style=style, markup=False, soft_wrap=True)

    def begin(self, phase: str, steps: int) -> None:
        """The lower bar starts anew: one that came and went would flicker in a fast run."""
        self._progress.reset(
            self._phase, total=steps, description=f"  {phase:<{_PHASE}}", visible=True
        )

    def step(self) -> None:
        """The lower bar moves on."""
        self._progress.advance(self._phase)

    def close(self, error: BaseException | None = None) -> None:
        """Takes the bars down, and says from where to where the evaluation went."""
        self._progress.remove_task(self._phase)
        self._progress.stop()
        if self._last is not self._first:
            for key, value in self._last.items():
                # A number that the evaluated prompts never have, such as another kind's, is NaN.
                if key in self._first and not math.isnan(value):
                    self.say(f"{key:32} {short(self._first[key]):>7} -> {short(value)}")


def _progress(console: Console, *notes: ProgressColumn, transient: bool = False) -> Progress:
    """Bars on a terminal; nothing elsewhere."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        *notes,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # Of all steps: rich forgets after 30 s, and one may take minutes.
        speed_estimate_period=float("inf"),
        transient=transient,
    )


@contextmanager
def count_on_bar(
    what: str, total: int, *, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number done so far: a bar on a terminal, nothing elsewhere."""
    progress = _progress(console or Terminal(), transient=True)
    task = progress.add_task(what, total=total)
    with progress:
        yield lambda done: progress.update(task, completed=min(done, total))


def line(metrics: Mapping[str, float], epochs: int, width: int) -> str:
    """An epoch in as many of its numbers as fit, the most telling first."""
    parts = [f"epoch {int(metrics['epoch']):{len(str(epochs))}}/{epochs}"]
    parts.append(f"reward {short(metrics['reward'])}")
    if "images_per_second" in metrics:
        parts.append(f"{short(metrics['images_per_second'])} images/s")
    mark = "eval: "
    for key, value in metrics.items():
        if key.startswith("eval/"):
            parts.append(f"{mark}{key.removeprefix('eval/')} {short(value)}")
            mark = ""
    while len("  ".join(parts)) > width and len(parts) > 2:
        parts.pop()
    return "  ".join(parts)


def short(value: float) -> str:
    """Three significant digits."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:g}" if abs(rounded) < 1000 else f"{rounded:,.0f}"
