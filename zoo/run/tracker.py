"""Where the numbers of a run go: the console, `metrics.jsonl`, and Weights & Biases if asked."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL.Image import Image

from zoo.run import evaluations, pictures
from zoo.run.console import Display
from zoo.run.evaluations import EvaluationRecord
from zoo.run.wandb_run import WandbRun
from zoo.storage import files as json_file

METRICS, LOG = "metrics.jsonl", "run.log"
"""In a run's folder: a line an epoch; warnings, and what libraries print."""

WARNING = "warning: "
"""Begins a line of the log that a person should see."""


class Tracker:
    """Records one mapping of numbers an epoch; opened by the first process alone."""

    def __init__(
        self,
        run_dir: Path,
        *,
        name: str,
        epochs: int,
        first_epoch: int,
        config: Mapping[str, Any],
        wandb_project: str | None = None,
        wandb_mode: str = "auto",
        wandb_id: str | None = None,
    ) -> None:
        """Shows `epochs`, of which `first_epoch` are done; logs to wandb if given a project."""
        self.run_dir = run_dir
        self._warned: set[str] = set()
        self._display = Display(name, epochs, first_epoch)
        self._display.say(f"run folder {run_dir}")
        self._wandb = None
        if wandb_project is not None:
            self._wandb = WandbRun(
                run_dir, project=wandb_project, name=f"{name}/{run_dir.name}", mode=wandb_mode,
                run_id=wandb_id, config=config, warn=self.warn,
            )  # fmt: skip

    @property
    def wandb_id(self) -> str | None:
        """The id under which wandb goes on with this run, if it has one."""
        return self._wandb.run_id if self._wandb else None

    def record(self, metrics: Mapping[str, float]) -> None:
        """One epoch's numbers; `epoch` counts those done. The file has null for NaN, infinity."""
        finite = {key: json_file.or_null(value) for key, value in metrics.items()}
        with (self.run_dir / METRICS).open("a") as file:
            file.write(json.dumps(finite) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._display.epoch(metrics)
        if self._wandb:
            self._wandb.log(finite)

    def warn(self, *texts: str) -> None:
        """Visible lines, each once however often it is said; all of them are in `run.log`."""
        for text in texts:
            with (self.run_dir / LOG).open("a") as file:
                file.write(f"{WARNING}{text}\n")
            if text not in self._warned:
                self._warned.add(text)
                self._display.warn(text)

    def say(self, text: str) -> None:
        """A line on the console."""
        self._display.say(text)

    def picture(self, picture: Image, epoch: int) -> None:
        """Saves an epoch's picture under `images/`, and it beside the first one."""
        path = evaluations.picture_path(self.run_dir, epoch)
        pictures.save(picture, path)
        first = evaluations.picture_path(self.run_dir, 0)
        if epoch and first.is_file():
            pictures.save_side_by_side(
                first, path, path.with_name("before_after.png"),
                titles=("before", f"after {epoch} epochs"),
            )  # fmt: skip
        if self._wandb:
            self._wandb.picture("images", path, epoch=epoch)

    def evaluation(self, record: EvaluationRecord) -> None:
        """Saves an evaluation's scores, image by image."""
        evaluations.write(self.run_dir, record)

    def note(self, name: str, data: object) -> None:
        """Puts a JSON file into the run's folder."""
        json_file.write(self.run_dir / name, data)

    def picture_of_two(
        self, name: str, before: tuple[int, str], after: tuple[int, str]
    ) -> Path | None:
        """Saves two epochs' pictures side by side under their titles, where there are both."""
        first, second = (
            evaluations.picture_path(self.run_dir, epoch) for epoch, _ in (before, after)
        )
        if not (first.is_file() and second.is_file()):
            return None
        path = second.with_name(name)
        pictures.save_side_by_side(first, second, path, titles=(before[1], after[1]))
        if self._wandb:
            self._wandb.picture(path.stem.partition("_")[0], path, epoch=after[0])
        return path

    def close(self) -> None:
        """Ends the display and lets wandb finish, for a minute at most."""
        self._display.close()
        if self._wandb:
            self._wandb.close()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Silent(Tracker):
    """What all processes but the first record to: nothing."""

    def __init__(self) -> None:
        self.run_dir = Path(os.devnull)
        self._wandb = None

    def record(self, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def warn(self, *texts: str) -> None:
        """Nothing: the first process says it."""

    def say(self, text: str) -> None:
        """Nothing."""

    def picture(self, picture: Image, epoch: int) -> None:
        """Nothing."""

    def evaluation(self, record: EvaluationRecord) -> None:
        """Nothing."""

    def note(self, name: str, data: object) -> None:
        """Nothing."""

    def picture_of_two(
        self, name: str, before: tuple[int, str], after: tuple[int, str]
    ) -> Path | None:
        """Nothing."""
        return None

    def close(self) -> None:
        """Nothing."""


def read(run_dir: Path) -> list[dict[str, Any]]:
    """Every whole line of a run's metrics; one cut short by a kill is left out."""
    path = run_dir / METRICS
    found = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def truncate(run_dir: Path, epochs: int) -> None:
    """Keeps what is of so many epochs done, for a run that goes on from there."""
    kept = [line for line in read(run_dir) if line["epoch"] <= epochs]
    json_file.write_text(run_dir / METRICS, "".join(json.dumps(line) + "\n" for line in kept))
    evaluations.truncate(run_dir, epochs)
