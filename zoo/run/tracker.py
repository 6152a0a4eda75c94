"""Where the numbers of a run go: the console, `metrics.jsonl`, and the trackers of its recipe."""

import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, TypeAdapter

from zoo.errors import UserError, join_lines, one_line, visible
from zoo.recipe.model import Recipe
from zoo.run import evaluations, pictures
from zoo.run.console import Bar, Display
from zoo.run.evaluations import EvaluationRecord
from zoo.run.moving import Picture
from zoo.run.sink import Sink, finite
from zoo.run.tracker_threads import TrackerThreads
from zoo.storage import files, json_data
from zoo.storage.files import ReadError
from zoo.storage.json_data import DamagedFileError
from zoo.tracker.base import TrackedRun

METRICS, LOG = "metrics.jsonl", "run.log"
"""In a run's folder: a line an epoch; warnings, and what libraries print."""

BEFORE_AFTER = "before_after"
"""The name of the picture of an epoch beside the first one, which `.png` or `.webp` ends."""

WARNING = "warning: "
"""Begins a line of the log that a person should see."""

ERROR = "error: "
"""Begins the line of what ended a run before its end."""


class Tracker:
    """Tells all sinks what a run says; a process without one says nothing."""

    def __init__(self, run_dir: Path, sinks: Iterable[Sink] = ()) -> None:
        """Sinks are told in this order: a file is there before the next one reads it."""
        self.run_dir = run_dir
        self._sinks = list(sinks)
        self._warned: set[str] = set()

    def add(self, sink: Sink) -> None:
        """One more, from now on."""
        self._sinks.append(sink)

    @property
    def tracking_id(self) -> str | None:
        """The id under which trackers go on with this run, if it has one."""
        return next((sink.run_id for sink in self._sinks if sink.run_id is not None), None)

    def record(self, metrics: Mapping[str, float]) -> None:
        """One epoch's numbers; `epoch` counts those done."""
        self._tell(lambda sink: sink.record(metrics))

    def warn(self, *texts: str) -> None:
        """Visible lines, each once however often it is said; all of them are in `run.log`."""
        for text in texts:
            again = text in self._warned
            self._warned.add(text)
            for sink in self._sinks:
                sink.warn(text, again=again)

    def say(self, text: str) -> None:
        """A line on the console."""
        self._tell(lambda sink: sink.say(text))

    def bar(self, phase: str, steps: int) -> Bar:
        """Begins a phase of so many steps, which the bar counts."""
        self._tell(lambda sink: sink.begin(phase, steps))
        return Bar(lambda: self._tell(lambda sink: sink.step()))

    def picture(self, picture: Picture, epoch: int) -> None:
        """Saves an epoch's picture under `images/`, and it beside the first one."""
        path = evaluations.picture_path(self.run_dir, epoch, pictures.suffix_of(picture))
        self._show("images", picture, path, epoch)

    def sample(self, picture: Picture, epoch: int, prompt: int) -> None:
        """Saves one video of an evaluation at its own size, where the epoch's picture has less."""
        suffix = pictures.suffix_of(picture)
        path = evaluations.sample_path(self.run_dir, epoch, prompt, suffix)
        self._show(f"sample_{prompt}", picture, path, epoch)

    def inputs(self, picture: Picture, epoch: int) -> None:
        """Saves what an epoch's pictured images were made from."""
        self._show("inputs", picture, evaluations.inputs_path(self.run_dir, epoch), epoch)

    def picture_of_two(
        self, name: str, before: tuple[int, str], after: tuple[int, str]
    ) -> Path | None:
        """Saves two epochs' pictures side by side under their titles, where there are both."""
        first, second = (
            evaluations.find_picture(self.run_dir, epoch) for epoch, _ in (before, after)
        )
        if not self._sinks or first is None or second is None:
            return None
        try:
            picture = pictures.side_by_side(first, second, titles=(before[1], after[1]))
        except (DamagedFileError, ReadError) as error:
            self._warn_of(error)
            return None
        path = second.with_name(f"{name}_{after[0]:06}{pictures.suffix_of(picture)}")
        self._show(name, picture, path, after[0])
        return path

    def _show(self, name: str, picture: Picture, path: Path, epoch: int) -> None:
        for sink in self._sinks:
            try:
                sink.picture(name, picture, path, epoch)
            except (DamagedFileError, ReadError) as error:
                self._warn_of(error)

    def _warn_of(self, broken: DamagedFileError | ReadError) -> None:
        self.warn(f"an earlier picture is shown beside no other: {broken}")

    def evaluation(self, record: EvaluationRecord) -> None:
        """Saves an evaluation's scores, image by image."""
        self._tell(lambda sink: sink.evaluation(record))

    def note(self, name: str, data: object) -> None:
        """Puts a JSON file into the run's folder."""
        self._tell(lambda sink: sink.note(name, data))

    def _tell(self, tell: Callable[[Sink], None]) -> None:
        for sink in self._sinks:
            tell(sink)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Ends the display and lets trackers finish, for a minute at most."""
        self._tell(lambda sink: sink.close(error))


def open_tracker(
    run_dir: Path, recipe: Recipe, done: int = 0, tracking_id: str | None = None
) -> Tracker:
    """Of a run of which so many epochs are done: its folder's files, the console, its trackers.

    `tracking_id` is of a run to go on with.

    Raises:
        RecipeError: a tracker refuses its options.
    """
    trackers = {each.name: recipe.build(each, {}) for each in recipe.trackers}
    tracker = Tracker(run_dir, [RunFiles(run_dir), Display(recipe.name, recipe.epochs, done)])
    tracker.say(f"run folder {run_dir}")
    if trackers:
        run_id = tracking_id or uuid.uuid4().hex[:8]
        name = f"{recipe.name}/{run_dir.name}"
        run = TrackedRun(run_dir, name, run_id, done, recipe.resolved())
        tracker.add(TrackerThreads(trackers, run, tracker.warn))
    return tracker


class RunFiles(Sink):
    """The files of a run's folder."""

    def __init__(self, run_dir: Path) -> None:
        """The folder is there."""
        self._run_dir = run_dir

    def record(self, metrics: Mapping[str, float]) -> None:
        """A line of `metrics.jsonl`, which has null for NaN and infinity.

        Raises:
            WriteError: the disk is full, say.
        """
        path = self._run_dir / METRICS
        with files.writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(metrics)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def warn(self, text: str, *, again: bool) -> None:
        """A line of `run.log`, each time.

        Raises:
            WriteError: the disk is full, say.
        """
        with files.writing(self._run_dir / LOG):
            self._log(f"{WARNING}{text}")

    def picture(self, name: str, picture: Picture, path: Path, epoch: int) -> None:
        """A file; an epoch's own also beside the first one, `before_after.png`.

        Raises:
            WriteError: the disk is full, say.
            DamagedFileError: the first one cannot be read; this one is written.
        """
        pictures.save(picture, path)
        first = evaluations.find_picture(self._run_dir, 0)
        if epoch and path == evaluations.find_picture(self._run_dir, epoch) and first is not None:
            titles = ("before", f"after {epoch} epochs")
            both = pictures.side_by_side(first, path, titles=titles)
            pictures.save(both, path.with_name(f"{BEFORE_AFTER}{pictures.suffix_of(both)}"))

    def close(self, error: BaseException | None = None) -> None:
        """In `run.log` why a run ended that nobody stopped."""
        if isinstance(error, Exception):
            said = join_lines(error) if isinstance(error, UserError) else one_line(error)
            # Where the disk is full it is that which ends the run, and the console says so.
            with suppress(OSError):
                self._log(f"{ERROR}{said}")

    def _log(self, line: str) -> None:
        with (self._run_dir / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{visible(line)}\n")

    def evaluation(self, record: EvaluationRecord) -> None:
        """A file under `evaluations/`."""
        evaluations.write(self._run_dir, record)

    def note(self, name: str, data: object) -> None:
        """A JSON file."""
        files.write(self._run_dir / name, data)


class _Line(BaseModel):
    """An epoch's numbers."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int | float | None]

    epoch: Annotated[int, Ge(0)]


_KIND = TypeAdapter(_Line).validate_json


def read(run_dir: Path) -> list[dict[str, Any]]:
    """Every line of a run's metrics; a last one that was cut short by a kill is left out.

    Raises:
        DamagedFileError: another line is none; names it.
    """
    return json_data.read_lines(run_dir / METRICS, _as_written, fix="delete that line")


def _as_written(line: bytes, *, strict: bool) -> dict[str, Any]:
    """A line that is one, with its keys in their order."""
    _KIND(line, strict=strict)
    numbers: dict[str, Any] = json.loads(line)
    return numbers


def truncate(run_dir: Path, epochs: int) -> None:
    """Keeps what is of so many epochs done, for a run that goes on from there."""
    kept = [line for line in read(run_dir) if line["epoch"] <= epochs]
    files.write_text(run_dir / METRICS, "".join(json.dumps(line) + "\n" for line in kept))
    evaluations.truncate(run_dir, epochs)
