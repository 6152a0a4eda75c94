"""The page of one run: what it is, what came of it, what it cost, and how it was made."""

import shlex
from pathlib import Path

from zoo.report import html
from zoo.report.page import Block, Listing, Note, Page, Section, Table, missing, yaml
from zoo.report.run_costs import costs, environment_rows, others, probes
from zoo.report.run_images import samples, spread
from zoo.report.run_scores import curves, monitor, summary
from zoo.run.record import RunRecord

REPORT = "report.html"
"""In a run's folder."""


def write_run(run: RunRecord, out: Path | None = None) -> Path:
    """Writes the page of a run, into its folder unless `out` names another file.

    The same folder gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    path = run.folder / REPORT if out is None else out
    html.write(page(run), path)
    return path


def page(run: RunRecord) -> Page:
    """All that the folder tells; what is missing is said where it would be."""
    source = f"zoo report {shlex.quote(str(run.folder))}"
    return Page(
        f"{run.recipe.get('name', 'run')}: {run.folder.name}",
        "A run's report: what its folder holds, and nothing else.",
        source,
        (
            summary(run),
            curves(run),
            monitor(run),
            samples(run),
            spread(run),
            costs(run),
            probes(run),
            others(run),
            _origin(run, source),
        ),
    )


def _origin(run: RunRecord, source: str) -> Section:
    folder = shlex.quote(str(run.folder))
    blocks: list[Block] = [
        Note(f"This page: {source}. An evaluation's scores again, from its checkpoint: "
             f"zoo eval {folder}. The run again: zoo train {folder}/recipe.json."),
        Listing("Resolved recipe", yaml(run.recipe)),
    ]  # fmt: skip
    rows = tuple(environment_rows(run))
    blocks.append(
        Table("Installed where the run began, and the machine.", (), rows, numbers=False)
        if rows
        else missing("The run's folder has no environment.json.")
    )
    return Section("made", "Recipe and environment", tuple(blocks))
