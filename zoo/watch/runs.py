"""The runs of a folder as they are now: each is read again when its files have changed."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from zoo.errors import UserError, join_lines
from zoo.run.evaluations import paths
from zoo.run.folder import END, RECIPE
from zoo.run.record import RunRecord, read_run
from zoo.run.tracker import LOG, METRICS
from zoo.storage import lock
from zoo.storage.files import or_nan

_DEPTH = 3
"""Folders below the root: `runs/NAME/TIME` is two."""
_RECENT = 20
"""Epochs that the time of one is measured by."""
_POINTS = 400
"""Epochs that a curve shows at most, and all that were evaluated."""


@dataclass(frozen=True)
class Watched:
    """A run, what its folder is called below the root, and whether a process still writes it."""

    name: str
    record: RunRecord
    going_on: bool
    state: str
    """Another one where anything of the run has changed."""

    @property
    def epoch(self) -> int:
        """Epochs done."""
        metrics = self.record.metrics
        return int(or_nan(metrics[-1]["epoch"])) if metrics else 0

    @property
    def epochs(self) -> int:
        """Epochs that the recipe asks for."""
        return int(self.record.recipe.get("epochs") or 0)

    @property
    def status(self) -> str:
        """In a word or two."""
        if self.record.end is not None:
            return "ended"
        return "going on" if self.going_on else "stopped"

    @property
    def seconds_left(self) -> float | None:
        """Until its last epoch, by the median of recent ones; none where nothing goes on."""
        if self.status != "going on" or not self.record.metrics:
            return None
        times = [_seconds(line) for line in self.record.metrics[1:][-_RECENT:]]
        return median(times) * (self.epochs - self.epoch) if times else None


class Runs:
    """All runs below a folder, or the one that the folder is."""

    def __init__(self, root: Path) -> None:
        """Raises UserError where there is no such folder."""
        if not root.is_dir():
            raise UserError(f"{root}: there is no such folder; name a run's, or one of runs")
        self.root = root
        self._read: dict[Path, Watched] = {}

    def all(self) -> list[Watched]:
        """The newest first; what is damaged or locked is left out: see `unread`."""
        found = [self._watched(folder) for folder in self._folders()]
        known = [each for each in found if each is not None]
        return sorted(
            known, key=lambda each: (each.going_on, each.record.folder.name), reverse=True
        )

    def unread(self) -> list[str]:
        """A line for each folder that cannot be read."""
        failed: dict[Path, Exception] = {}
        for folder in list(_below(self.root, _DEPTH, failed)):
            try:
                self._as_it_is(folder)
            except (UserError, OSError) as error:
                failed[folder] = error
        return [
            f"{_name(folder, self.root) or folder} cannot be read: {_why(error)}"
            for folder, error in sorted(failed.items())
        ]

    def named(self, name: str) -> Watched | None:
        """The run of that name, if there is one."""
        return next(
            (
                self._watched(folder)
                for folder in self._folders()
                if _name(folder, self.root) == name
            ),
            None,
        )

    def state(self, name: str | None = None) -> str:
        """Of one run or of all: another text where anything has changed."""
        failed: dict[Path, Exception] = {}
        found = sorted(_below(self.root, _DEPTH, failed))
        folders = [f for f in found if name in (None, _name(f, self.root))]
        locked = [] if name else sorted(map(str, failed))
        return _digest("".join([*map(_state, folders), *locked]))

    def _folders(self) -> Iterator[Path]:
        yield from sorted(_below(self.root, _DEPTH, {}))

    def _watched(self, folder: Path) -> Watched | None:
        try:
            return self._as_it_is(folder)
        except (UserError, OSError):
            return None

    def _as_it_is(self, folder: Path) -> Watched:
        state = _state(folder)
        known = self._read.get(folder)
        if known is None or known.state != state:
            record = thinned(read_run(folder))
            known = Watched(_name(folder, self.root), record, _is_written(folder), state)
            self._read[folder] = known
        return known


def thinned(record: RunRecord) -> RunRecord:
    """With as many epochs as curves need: each of long runs would be megabytes of lines."""
    step = -(-len(record.metrics) // _POINTS)
    last = len(record.metrics) - 1
    kept = (
        tuple(
            line
            for index, line in enumerate(record.metrics)
            if index % step == 0 or index > last - _RECENT or _is_evaluated(line)
        )
        if step > 1
        else record.metrics
    )
    return replace(record, metrics=kept)


def _is_evaluated(line: Mapping[str, float | None]) -> bool:
    return any(key.startswith("eval/") for key in line)


def _below(folder: Path, depth: int, failed: dict[Path, Exception]) -> Iterator[Path]:
    """The folders of runs; `failed` gets those that nobody here can look into."""
    try:
        is_run = (folder / RECIPE).is_file()
        inside = [] if is_run or depth == 0 else _inside(folder)
    except FileNotFoundError:
        return  # it has gone since
    except OSError as error:
        failed[folder] = error
        return
    if is_run:
        yield folder
    for each in inside:
        yield from _below(each, depth - 1, failed)


def _inside(folder: Path) -> list[Path]:
    found = [Path(entry.path) for entry in os.scandir(folder) if _is_folder(entry)]
    # A disk's own lost+found is root's.
    return [e for e in found if not e.name.startswith(".") and e.name != "lost+found"]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """True of a link that leads where nobody here can look: who follows it says why."""
    try:
        return entry.is_dir()
    except OSError:
        return True


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or join_lines(error)


def _name(folder: Path, root: Path) -> str:
    return folder.name if folder == root else folder.relative_to(root).as_posix()


def _state(folder: Path) -> str:
    """Sizes and times of what a page shows of a run."""
    files = [folder / METRICS, folder / LOG, folder / END, folder / RECIPE, *paths(folder)[-1:]]
    seen = []
    for file in files:
        try:
            at = file.stat()
        except OSError:
            continue
        seen.append(f"{file.name} {at.st_size} {at.st_mtime_ns}")
    return _digest(f"{folder} {_is_written(folder)} {seen}")


def _is_written(folder: Path) -> bool:
    """Whether the process that took the run's lock is there and has it."""
    return lock.holder(folder) is not None


def _seconds(line: Mapping[str, float | None]) -> float:
    """Of one epoch with all its phases."""
    return sum(or_nan(value) for key, value in line.items() if key.startswith("seconds/"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
