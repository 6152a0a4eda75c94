"""`zoo report`: a run's page."""

from pathlib import Path

import typer

from zoo.recipe.errors import RecipeError
from zoo.report.run import write_run


def report(run_dir: Path, out: Path | None) -> None:
    """Writes the page, and says where it is.

    Raises:
        RecipeError: it is no run's folder, or the file cannot be written.
    """
    try:
        path = write_run(run_dir, out)
    except OSError as error:
        raise RecipeError(
            f"cannot write {out or run_dir}: {error.strerror}; give --out FILE"
        ) from error
    typer.echo(f"report: {path}")
