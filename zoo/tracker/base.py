"""The ExperimentTracker interface: where a run's numbers and pictures go beside its own folder."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker is told of.

    `name` is RECIPE/TIME, `recipe` the whole recipe with every default, as JSON holds it. `run_id`
    is of eight letters and digits, the run's own, and the same when it goes on. `epoch` counts the
    epochs done: what a tracker has of later ones is made again.
    """

    folder: Path
    name: str
    run_id: str
    epoch: int
    recipe: Mapping[str, Any]

    @property
    def first_epoch(self) -> int:
        """The first that will be recorded: 0 is the model before training."""
        return self.epoch + 1 if self.epoch else 0


class ExperimentTracker(ABC):
    """Is told what a run says of itself, beside the training: it can neither block nor end a run.

    Every method but the constructor is called in one thread of the tracker's own, in order. What
    raises there is one warning, and the tracker is told no more. Where it is slower than the run,
    entries wait, and what is too much is left out with a warning. A constructor takes options
    alone: `def __init__(self, *, option: type = default)`.
    """

    late: str = "its own files may lack the last entries"
    """What to say of a tracker that has not finished in time: what is missing, or what to do."""

    @classmethod  # noqa: B027
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks whether it can be used here with these options. By default yes.

        A run and `zoo check` ask it before anything is loaded.

        Raises:
            ValueError: what is missing or wrong, and the fix.
        """

    def open(self, run: TrackedRun) -> None:  # noqa: B027
        """The run begins, or goes on; files belong under `run.folder`."""

    @abstractmethod
    def record(self, metrics: Mapping[str, float]) -> None:
        """One epoch's finite numbers, by their names in `metrics.jsonl`; `epoch` is one of them."""

    def picture(self, name: str, path: Path, epoch: int) -> None:  # noqa: B027
        """A picture of an epoch's images in a file: PNG, or WebP where it moves."""

    def warn(self, text: str, epoch: int) -> None:  # noqa: B027
        """A warning, once however often the run says it; `epoch` is the one that goes on."""

    def close(self, *, failed: bool) -> None:  # noqa: B027
        """The run has ended or leaves; `failed` says that an error ended it."""
