"""The command lines of what comes after training: `zoo compare`, `report`, `export` and such."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import (
    Best,
    Checkpoint,
    Debug,
    Overrides,
    Overwrite,
    Tiny,
    Weights,
    out_option,
)

RunDir = Annotated[Path, typer.Argument(help="A run folder.")]
AnyRunDir = Annotated[Path, typer.Argument(help="A run folder, also of a run that goes on.")]
ReportFile = Annotated[Path | None, out_option("The file to write; default: RUN_DIR/report.html.")]
PairsFile = Annotated[
    Path | None, out_option("Write pairs to this .parquet file, for dpo and kto.")
]


def compare(
    suite: Annotated[
        Path,
        typer.Argument(help="A suite, as in benchmarks/: a file, or its name.", show_default=False),
    ],
    overrides: Overrides = None,
    out: Annotated[Path | None, out_option("The folder; default: comparisons/NAME.")] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "-j", "--jobs", min=1, help="Runs at once, each on GPUs of its own where there are any."
        ),
    ] = 1,
    tiny: Tiny = False,
    debug: Debug = False,
) -> None:
    """Run a suite's contenders on the same budget and seeds, and write a report.

    The same command goes on with what was interrupted, and reuses what is done.
    """
    from zoo.cli.compare import compare as compare_suite

    compare_suite(suite, overrides or [], out, tiny=tiny, jobs=jobs)


def report(
    run_dir: AnyRunDir, out: ReportFile = None, overwrite: Overwrite = False, debug: Debug = False
) -> None:
    """Write a run's page: scores, samples over time, monitor, times; one file, opens anywhere."""
    from zoo.cli.report import report as write_report

    write_report(run_dir, out, overwrite=overwrite)


def best(
    run_dir: RunDir,
    by: Annotated[
        str | None,
        typer.Option(help="A score of the evaluations, by label; default: the held-out score."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a run's evaluations, and which checkpoint is best by the held-out score."""
    from zoo.cli.report import best as show_best

    show_best(run_dir, by)


def votes(
    run_dir: AnyRunDir, out: PairsFile = None, overwrite: Overwrite = False, debug: Debug = False
) -> None:
    """Show who voted on a run's images; write what they prefer as a table of pairs."""
    from zoo.cli.votes import show_votes

    show_votes(run_dir, out, overwrite=overwrite)


def export(
    run_dir: RunDir,
    out: Annotated[
        Path, out_option("The folder to write; an earlier export there goes, if it is unchanged.")
    ],
    form: Annotated[str, typer.Option("--format", help="diffusers or peft.")] = "diffusers",
    epoch: Checkpoint = None,
    best: Best = False,
    weights: Weights = None,
    push: Annotated[
        str | None, typer.Option("--push", help="Upload it to this model on the Hub: OWNER/NAME.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make the model private, where --push makes it.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write a run's weights as the files that diffusers or PEFT load."""
    from zoo.cli.export import export as export_run
    from zoo.cli.report import choose_epoch

    chosen = choose_epoch(run_dir, epoch, best=best)
    export_run(run_dir, out, form, chosen, weights, push, private)
