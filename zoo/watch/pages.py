"""What the live pages say: an overview of runs, and one run as its report has it."""

from collections.abc import Callable, Iterator, Sequence

from zoo.report.curves import figure, series
from zoo.report.page import (
    WARNING,
    Block,
    Figures,
    Note,
    Page,
    Section,
    Table,
    count,
    duration,
    missing,
    number,
)
from zoo.report.run_costs import costs, probes
from zoo.report.run_images import samples
from zoo.report.run_scores import curves, monitor, summary
from zoo.run.record import RunRecord
from zoo.watch.runs import Watched

_OVERLAID = 6
"""Curves in a figure where nobody has chosen."""

LATER: dict[str, Callable[[RunRecord], Section]] = {
    "samples": samples, "monitor": monitor, "costs": costs, "probes": probes,
}  # fmt: skip
"""Sections of a run that are sent once the first ones are seen, by their anchor."""


def overview(
    runs: Sequence[Watched],
    chosen: Sequence[str],
    metric: str,
    source: str,
    unread: Sequence[str] = (),
) -> Page:
    """A line a run, and the metric of the chosen ones in one figure; of the newest by default.

    `unread` are lines on those that are not among the runs.
    """
    head = ("run", "", "epoch", "reward", "held out", "warnings", "left")
    rows = tuple(tuple(_cells(run)) for run in runs)
    blocks: list[Block] = [Table("", head, rows) if rows else missing("No run is there yet.")]
    blocks += [Note(line, WARNING) for line in unread]
    shown = [run for run in runs if run.name in chosen] or list(runs[:_OVERLAID])
    drawn = figure(
        [
            series(run.record.metrics, metric, run.name, style=style)
            for style, run in enumerate(shown)
        ],
        metric, name="overlay", caption=f"{metric} by epoch.",
    )  # fmt: skip
    over: list[Block] = [Figures((drawn,), large=True)] if drawn else [missing(f"No {metric} yet.")]
    return Page(
        "zoo watch",
        "Runs as they are now; this page updates itself.",
        source,
        (Section("overlay", metric, tuple(over)), Section("runs", "Runs", tuple(blocks))),
    )


def metrics_of(runs: Sequence[Watched]) -> list[str]:
    """What any of them has recorded, rewards and evaluations first."""
    names = {key for run in runs for line in run.record.metrics[-1:] for key in line}
    names |= {key for run in runs for line in run.record.evaluated[-1:] for key in line}
    first = [name for name in sorted(names) if name == "reward" or name.startswith("eval/")]
    return [*first, *sorted(names - {*first, "epoch"})]


def run_page(run: Watched, source: str) -> Page:
    """Its state, summary and scores: what is seen first. LATER has the other sections."""
    blocks: list[Block] = [Table("", (), tuple(_now(run)), numbers=False)]
    blocks += [Note(text, WARNING) for text in run.record.warnings]
    return Page(
        f"{run.record.recipe.get('name', 'run')}: {run.record.folder.name}",
        "A run as it is now; this page updates itself.",
        source,
        (
            Section("now", "Now", tuple(blocks)),
            curves(run.record),
            *(Section(anchor, _TITLES[anchor], ()) for anchor in LATER),
            summary(run.record),
        ),
    )


_TITLES = {
    "samples": "Samples over time", "monitor": "Cheating monitor", "costs": "Time and memory",
    "probes": "Probes",
}  # fmt: skip


def _now(run: Watched) -> Iterator[tuple[str, str]]:
    yield "status", run.status
    yield "epoch", f"{count(run.epoch)} of {count(run.epochs)}"
    if run.seconds_left is not None:
        yield "left", f"about {duration(run.seconds_left)}"
    last = run.record.metrics[-1] if run.record.metrics else {}
    if "reward" in last:
        yield "reward", number(last["reward"])
    if run.record.end is not None:
        yield "ended", run.record.end.text


def _cells(run: Watched) -> Iterator[str]:
    last = run.record.metrics[-1] if run.record.metrics else {}
    evaluated = run.record.evaluated[-1] if run.record.evaluated else {}
    yield run.name
    yield run.status
    yield f"{count(run.epoch)} / {count(run.epochs)}"
    yield number(last["reward"]) if "reward" in last else ""
    yield number(evaluated["monitor/held_out"]) if "monitor/held_out" in evaluated else ""
    yield count(len(run.record.warnings)) if run.record.warnings else ""
    yield duration(run.seconds_left) if run.seconds_left is not None else ""
