"""Trackers, each in a thread of its own, so that none can block or end a run."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from zoo.errors import one_line
from zoo.run.moving import Picture
from zoo.run.sink import Sink, finite
from zoo.tracker.base import ExperimentTracker, TrackedRun

_CLOSE_SECONDS = 60.0
"""What all trackers together may take at the end."""

_MOST_WAITING = 1000
"""Entries that wait for a slow tracker: a few for each epoch."""

Tell = Callable[[ExperimentTracker], None]


class TrackerThreads(Sink):
    """Tells trackers what a run says, and returns at once."""

    def __init__(
        self,
        trackers: Mapping[str, ExperimentTracker],
        run: TrackedRun,
        warn: Callable[[str], None],
    ) -> None:
        """`trackers` by the names that warnings have; `warn` may be called from their threads."""
        self.run_id = run.run_id
        self._epoch = run.first_epoch
        self._threads = [_Thread(name, tracker, run, warn) for name, tracker in trackers.items()]

    def record(self, metrics: Mapping[str, float]) -> None:
        """An epoch's finite numbers."""
        known = {key: value for key, value in finite(metrics).items() if value is not None}
        self._tell(lambda tracker: tracker.record(dict(known)))
        self._epoch = int(metrics["epoch"]) + 1

    def warn(self, text: str, *, again: bool) -> None:
        """Once."""
        epoch = self._epoch
        if not again:
            self._tell(lambda tracker: tracker.warn(text, epoch))

    def picture(self, name: str, picture: Picture, path: Path, epoch: int) -> None:
        """The file, which is read later."""
        self._tell(lambda tracker: tracker.picture(name, path, epoch))

    def close(self, error: BaseException | None = None) -> None:
        """Waits for what is left to tell, for a minute at most."""
        deadline = time.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.end(failed=isinstance(error, Exception))
        for thread in self._threads:
            thread.join(deadline)

    def _tell(self, tell: Tell) -> None:
        for thread in self._threads:
            thread.put(tell)


class _Thread:
    """One tracker, what waits for it, and whether it is still told anything."""

    def __init__(
        self, name: str, tracker: ExperimentTracker, run: TrackedRun, warn: Callable[[str], None]
    ) -> None:
        """Starts."""
        self._name, self._tracker, self._run, self._warn = name, tracker, run, warn
        self._todo: queue.SimpleQueue[Tell | None] = queue.SimpleQueue()
        self._is_off, self._failed, self._num_dropped = False, False, 0
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, tell: Tell) -> None:
        """One entry more, where there is room for it."""
        if self._is_off:
            return
        if self._todo.qsize() < _MOST_WAITING:
            self._todo.put(tell)
            return
        self._num_dropped += 1
        if self._num_dropped == 1:
            self._warn(
                f"{self._name} is slower than the run: {_MOST_WAITING} entries wait for it, and "
                "what comes while they do is left out there"
            )

    def end(self, *, failed: bool) -> None:
        """Nothing more is to come."""
        self._failed = failed
        self._todo.put(None)

    def join(self, deadline: float) -> None:
        """Waits until it has ended or it is that late; says what it lacks."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        is_late, self._is_off = self._thread.is_alive(), True
        if is_late:
            seconds = f"{_CLOSE_SECONDS:g} s"
            self._warn(f"{self._name} did not finish within {seconds}; {self._tracker.late}")
        if self._num_dropped:
            self._warn(
                f"{self._name} lacks {self._num_dropped} entries, for which it was too slow; "
                "metrics.jsonl has all"
            )

    def _work(self) -> None:
        if not self._succeeds(lambda tracker: tracker.open(self._run)):
            return
        for tell in iter(self._todo.get, None):
            if not self._succeeds(tell):
                break
        self._succeeds(lambda tracker: tracker.close(failed=self._failed))

    def _succeeds(self, tell: Tell) -> bool:
        """Whether the tracker took it; the first time that one does not is said."""
        try:
            tell(self._tracker)
        # A library may even try to leave.
        except (Exception, SystemExit) as error:
            is_new, self._is_off = not self._is_off, True
            if is_new:
                self._warn(f"{self._name} is off for the rest of this run: {one_line(error)}")
            return False
        return True
