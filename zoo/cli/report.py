"""`zoo report` and `zoo best`: what came of a run."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from zoo.cli.new_file import require_new
from zoo.errors import UserError
from zoo.report.run import write_run
from zoo.run import checkpoint
from zoo.run.console import short
from zoo.run.record import Evaluation, Ranking, best_epoch, ranking, read_run
from zoo.terminal import Terminal, say


def best(run_dir: Path, by: str | None) -> None:
    """Prints a line an evaluation, and the folder of the best checkpoint last.

    Raises:
        CheckpointError: no evaluated epoch has a checkpoint.
    """
    ranked = ranking(run_dir, by)
    _warn(ranked.damaged)
    chosen = ranked.best
    Terminal().print(_table(ranked))
    if chosen is None:
        raise checkpoint.CheckpointError(
            f"{run_dir} has no checkpoint of an epoch that was evaluated"
        )
    above = [one for one in ranked.comparable if one.score > chosen.score]
    if above:
        top = max(above, key=lambda one: one.score)
        say(
            f"epoch {top.epoch} scored more, {short(top.score)}, and has no checkpoint"
            + ("" if top.epoch else ": it is the model as the run began")
        )
    say(f"best by {ranked.metric}: epoch {chosen.epoch}, {short(chosen.score)}")
    say(checkpoint.folder_of(run_dir, chosen.epoch))


def choose_epoch(source: Path, epoch: int | None, *, best: bool) -> int | None:
    """The epoch that `--epoch` or `--best` names, if one does.

    Raises:
        UserError: both do, or there is nothing to choose from.
    """
    if not best:
        return epoch
    if epoch is not None:
        raise UserError(f"--best and --epoch {epoch} both name a checkpoint; use one")
    if not source.is_dir():
        raise UserError(f"--best: {source} is a recipe; only a run folder has checkpoints")
    return best_epoch(source)


def _table(ranked: Ranking) -> Table:
    shown = ("monitor/trained", "monitor/diversity", "monitor/drift")
    columns = [ranked.metric, *(name for name in shown if name != ranked.metric)]
    table = Table(box=None, pad_edge=False)
    for name in ("epoch", *columns):
        table.add_column(name.removeprefix("monitor/"), justify="right")
    table.add_column("")
    for evaluation in ranked.evaluations:
        values = [_cell(evaluation.record.get(name)) for name in columns]
        table.add_row(str(evaluation.epoch), *values, _mark(evaluation, ranked))
    return table


def _mark(evaluation: Evaluation, ranked: Ranking) -> str:
    if not evaluation.is_comparable:
        return "of other prompts or rewards"
    if not evaluation.has_checkpoint:
        return "no checkpoint"
    return "best" if evaluation is ranked.best else ""


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else short(value)


def report(run_dir: Path, out: Path | None, *, overwrite: bool) -> None:
    """Writes the page, and says where it is, and what of the run it does without.

    Raises:
        UserError: it is no run's folder, or the file is there, or cannot be written.
    """
    if out is not None:
        require_new(out, overwrite=overwrite)
    run = read_run(run_dir)
    _warn(run.damaged)
    try:
        path = write_run(run, out)
    except OSError as error:
        raise UserError(
            f"cannot write {out or run_dir}: {error.strerror}; give --out FILE"
        ) from error
    say(f"report: {path}")


def _warn(damaged: Sequence[str]) -> None:
    for line in damaged:
        say(f"warning: {line}", err=True)
