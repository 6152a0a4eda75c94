"""Where a run is recorded to: the console, the files of its folder, its trackers."""

from collections.abc import Mapping
from pathlib import Path

from zoo.run.evaluations import EvaluationRecord
from zoo.run.moving import Picture
from zoo.storage.files import or_null


class Sink:
    """Is told everything that a run says of itself, and takes what it has use for."""

    run_id: str | None = None
    """The id under which it goes on with this run, where it has one."""

    def record(self, metrics: Mapping[str, float]) -> None:
        """One epoch's numbers; `epoch` counts those done."""

    def say(self, text: str) -> None:
        """A line for whoever looks on."""

    def warn(self, text: str, *, again: bool) -> None:
        """A line that must be seen; `again` if the run has said it before."""

    def begin(self, phase: str, steps: int) -> None:
        """A phase of an epoch begins, of so many steps that take time."""

    def step(self) -> None:
        """One of them is done."""

    def picture(self, name: str, picture: Picture, path: Path, epoch: int) -> None:
        """A picture of an epoch's images, and the file that is to have it.

        Raises:
            DamagedFileError: an earlier picture that is to be beside it.
        """

    def evaluation(self, record: EvaluationRecord) -> None:
        """An evaluation's scores, image by image."""

    def note(self, name: str, data: object) -> None:
        """What a JSON file of this name is to hold."""

    def close(self, error: BaseException | None = None) -> None:
        """The run has ended, or leaves, or cannot go on because of an error."""


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The numbers, and None for NaN and infinity, which JSON lacks."""
    return {key: or_null(value) for key, value in metrics.items()}
