"""A run's folder from Python: its numbers, its images, its best checkpoint."""

import base64
import mimetypes
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from zoo.api.columns import Columns
from zoo.api.images import Images
from zoo.cli import report as run_report
from zoo.cli.export import export
from zoo.cli.output import IMAGES, is_picture, require_free
from zoo.cli.sample import make
from zoo.cli.source import ImageJob, choose_checkpoint, evaluation_overrides
from zoo.engine.interrupt import Interrupted
from zoo.errors import UserError, visible
from zoo.prompt import Prompt
from zoo.report.run import write_run
from zoo.run.console import short
from zoo.run.record import Evaluation, RunRecord, ranking, read_run
from zoo.run.tracker import BEFORE_AFTER

_FIRST = ("epoch", "reward", "eval/judge", "loss", "images_per_second")
"""Of the columns, those that come first."""


class Run:
    """A run, finished or going on: what its folder holds, read anew each time that it is asked.

    In a notebook it shows itself: its scores before and after, and its pictures.
    """

    def __init__(self, folder: str | Path) -> None:
        """Of the folder `runs/NAME/TIME`.

        Raises:
            UserError: it is no run's folder.
        """
        self.folder = Path(folder)
        read_run(self.folder)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The whole recipe, every default written out."""
        return self._record.recipe

    @property
    def metrics(self) -> Columns:
        """All numbers by column, a row an epoch; the first is before any update."""
        return Columns(self._record.metrics, _FIRST)

    @property
    def evaluations(self) -> Columns:
        """The same of the epochs that were evaluated, with the numbers of evaluations alone."""
        kept = [
            {key: value for key, value in line.items() if key == "epoch" or key.startswith(_OF)}
            for line in self._record.evaluated
        ]
        return Columns(kept, _FIRST)

    @property
    def warnings(self) -> Sequence[str]:
        """What the run was warned of, and which of its files are damaged."""
        return self._record.warnings

    @property
    def best(self) -> Evaluation | None:
        """The best evaluated checkpoint by the rewards that were not trained on, as `zoo best`.

        None where nothing was evaluated, or no evaluated epoch has a checkpoint.
        """
        return ranking(self.folder).best if self._record.evaluated else None

    def sample(
        self,
        prompts: str | Sequence[str],
        num: int = 4,
        *,
        epoch: int | None = None,
        best: bool = False,
        out: str | Path | None = None,
        **options: Any,
    ) -> Images:
        """Makes images of prompts, `num` of each, as `zoo sample` does.

        Args:
            prompts: one, or several.
            num: images of each.
            epoch: the checkpoint's; by default the last.
            best: the best checkpoint in its place.
            out: a new folder for the files; by default a temporary one.
            options: `weights` (live, old, ema, ...), `seed` (0), and `steps`, `guidance`, `solver`
                in place of the recipe's.

        Raises:
            UserError: an option is wrong, there is no such checkpoint, or `out` holds something.
            KeyboardInterrupt: it was interrupted.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not texts or num < 1:
            raise UserError(f"sample needs a prompt and num of at least 1: {texts!r}, {num}")
        weights, seed = options.pop("weights", None), options.pop("seed", 0)
        unknown = sorted(options.keys() - _SAMPLED)
        if unknown:
            allowed = ", ".join(["weights", "seed", *sorted(_SAMPLED)])
            raise UserError(f"sample has no option {', '.join(unknown)}; allowed: {allowed}")
        source = choose_checkpoint(
            self.folder, evaluation_overrides(**options),
            epoch=run_report.choose_epoch(self.folder, epoch, best=best), weights=weights,
        )  # fmt: skip
        folder = _folder_for_samples(out)
        job = ImageJob(source, [Prompt(text) for text in texts], num, seed, folder)
        _interruptible(partial(make, job, folder))
        return Images(folder, texts, num)

    def export(
        self,
        out: str | Path,
        *,
        format: str = "diffusers",
        epoch: int | None = None,
        best: bool = False,
        weights: str | None = None,
    ) -> Path:
        """Writes weights that diffusers (or `format="peft"`: PEFT) loads, as `zoo export` does.

        Raises:
            UserError: an option is wrong, there is no such checkpoint, or `out` holds something.
        """
        chosen = run_report.choose_epoch(self.folder, epoch, best=best)
        export(self.folder, Path(out), format, chosen, weights, None, private=False)
        return Path(out)

    def report(self, out: str | Path | None = None) -> Path:
        """Writes the run's page, one HTML file, into its folder or to `out`."""
        return write_run(self._record, None if out is None else Path(out))

    @property
    def _record(self) -> RunRecord:
        return read_run(self.folder)

    def __repr__(self) -> str:
        """Its folder and how far it is."""
        record = self._record
        done = int(record.metrics[-1]["epoch"] or 0) if record.metrics else 0
        return f"Run {self.folder}: {done} of {record.recipe.get('epochs')} epochs"

    def _repr_html_(self) -> str:
        evaluated = self._record.evaluated
        rows = Markup("").join(
            Markup("<tr><td>{}</td><td>{}</td><td>{}</td></tr>").format(
                visible(key.removeprefix("eval/")), _cell(evaluated[0].get(key)), _cell(value)
            )
            for key, value in (evaluated[-1].items() if evaluated else ())
            if key.startswith("eval/") and key.count("/") == 1
        )
        table = Markup("<table><tr><th></th><th>before</th><th>after</th></tr>{}</table>").format(
            rows
        )
        title = Markup("<p><b>{}</b></p>").format(visible(repr(self)))
        return str(title + (table if evaluated else "") + self._picture())

    def _picture(self) -> Markup:
        for path in sorted((self.folder / "images").glob(f"{BEFORE_AFTER}.*")):
            kind = mimetypes.guess_type(path.name)[0]
            data = base64.b64encode(path.read_bytes()).decode()
            return Markup('<img src="data:{};base64,{}" style="max-width:100%">').format(kind, data)
        return Markup("")


_OF = ("eval/", "eval_error/", "monitor/")
_SAMPLED = {"steps", "guidance", "solver"}


def open_run(folder: str | Path) -> Run:
    """The run of a folder `runs/NAME/TIME`, also of one that is going on.

    Raises:
        UserError: it is no run's folder.
    """
    return Run(folder)


def _folder_for_samples(out: str | Path | None) -> Path:
    if out is None:
        return Path(tempfile.mkdtemp(prefix="zoo_samples_"))
    if is_picture(Path(out)):
        raise UserError(f"out is a folder for the files of the images, not {out}")
    if (Path(out) / IMAGES).exists():
        raise UserError(f"{out} holds images already; name another folder")
    require_free(Path(out), overwrite=False)
    return Path(out)


def _interruptible(work: Any) -> None:
    try:
        work()
    except Interrupted as stop:
        raise KeyboardInterrupt(str(stop)) from None


def _cell(value: float | None) -> str:
    return "-" if value is None else short(value)
