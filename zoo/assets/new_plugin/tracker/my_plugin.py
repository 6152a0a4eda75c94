"""A tracker: where a run's numbers and pictures also go."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen

from zoo.tracker.base import ExperimentTracker, TrackedRun


class MyPlugin(ExperimentTracker):
    """A table of the run in its folder, a row a number, and a row a picture or warning.

    A run that goes on adds to it. Put your server's client here: it may be slow or fail, for each
    tracker has a thread of its own.
    """

    def __init__(self, *, file: Annotated[str, MinLen(1)] = "my_plugin.csv") -> None:
        """`file` is its name in the run's folder."""
        self._file = file

    def open(self, run: TrackedRun) -> None:
        """The run begins, or goes on after `run.epoch` epochs."""
        self._path = run.folder / self._file

    def record(self, metrics: Mapping[str, float]) -> None:
        """One epoch's finite numbers, by their names in metrics.jsonl."""
        self._add(*((metrics["epoch"], name, value) for name, value in metrics.items()))

    def picture(self, name: str, path: Path, epoch: int) -> None:
        """A picture of an epoch's images: a file in the run's folder."""
        self._add((epoch, name, path.name))

    def warn(self, text: str, epoch: int) -> None:
        """A warning of the run, such as that a reward may be cheated."""
        self._add((epoch, "warning", text))

    def _add(self, *rows: tuple[float, str, object]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
