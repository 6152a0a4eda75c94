"""The table of `zoo eval`: means with standard errors, by tag where prompts have tags."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from zoo.training.standard_errors import Estimate, Summary


def show(found: Mapping[str, Summary], failures: Sequence[str], num_broken: int) -> None:
    """Prints the scores, and what went wrong."""
    console = Console(highlight=False)
    for line in failures:
        _warn(console, line)
    if num_broken:
        _warn(console, f"{num_broken} images came out with NaN or infinity, and have no scores")
    console.print(_table(found))
    says = ["± is one standard error over prompts"]
    if any(summary.tags for summary in found.values()):
        says.append("a mean is over images, the mean of tags over the tags' means")
    console.print("; ".join(says), style="dim", soft_wrap=True)


def _table(found: Mapping[str, Summary]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("score", no_wrap=True)
    for heading in ("mean", "±", "images"):
        table.add_column(heading, justify="right", no_wrap=True)
    parts = [
        each for summary in found.values() for each in (summary.overall, *summary.tags.values())
    ]
    some_invalid = any(each.num_invalid for each in parts)
    if some_invalid:
        table.add_column("invalid", justify="right", no_wrap=True)

    def row(name: str, each: Estimate) -> None:
        numbers = [_number(each.mean, 4), _number(each.standard_error, 2)]
        cells = [name, *numbers, f"{each.num_images:,}"]
        table.add_row(*cells, *([f"{each.num_invalid:,}"] if some_invalid else []))

    again = {f"{name}/{tag}" for name, summary in found.items() for tag in summary.tags}
    for name, summary in found.items():
        if name in again:
            continue
        row(name, summary.overall)
        if summary.mean_of_tags is not None:
            row("  mean of tags", summary.mean_of_tags)
        for tag, part in summary.tags.items():
            row(f"    {tag}", part)
    return table


def _number(value: float, digits: int) -> str:
    """So many significant digits, zeros at the end too."""
    return "-" if math.isnan(value) else f"{value:#.{digits}g}".removesuffix(".")


def _warn(console: Console, text: str) -> None:
    console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)
