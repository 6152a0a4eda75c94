"""What every tracker promises."""

from abc import ABC, abstractmethod
from copy import deepcopy
from pathlib import Path

import pytest
from PIL import Image

from zoo.tracker.base import ExperimentTracker, TrackedRun

_METRICS = {
    "epoch": 0.0,
    "reward": 0.5,
    "eval/digit": 0.25,
    "eval/judge/distance_to_data": 3.0,
    "probe/loss_at_live_==_reference": 1e-30,
    "reward/größe in %": -1e9,
}
"""Names as metrics.jsonl can have them."""


class TrackerTests(ABC):
    """The checks of a tracker: inherit them in a class whose name starts with Test, write `make`.

    Each calls the methods in the order of a run.
    """

    @abstractmethod
    def make(self) -> ExperimentTracker:
        """A new instance, as for another run or for one that goes on."""

    def test_it_takes_a_run_and_goes_on_with_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Numbers, pictures that stand and move, and warnings; it writes below the run's folder."""
        run, here = _run(tmp_path), tmp_path / "here"
        here.mkdir()
        monkeypatch.chdir(here)
        for done in (0, 1):
            tracker = self.make()
            tracker.open(TrackedRun(run.folder, run.name, run.run_id, done, run.recipe))
            for epoch in (done, done + 1):
                tracker.picture("images", run.folder / "still.png", epoch)
                tracker.picture("parted", run.folder / "moving.webp", epoch)
                tracker.warn("a reward may be <cheated> *here*: 50% of 'x'\nand so on", epoch)
                tracker.record({**_METRICS, "epoch": float(epoch)})
            tracker.close(failed=False)
        assert not list(here.iterdir()), "it writes elsewhere than below the run's folder"
        left = {path.name for path in run.folder.iterdir()}
        assert {"still.png", "moving.webp"} <= left, "it took files of the run's away"

    def test_a_run_may_end_before_it_has_said_anything(self, tmp_path: Path) -> None:
        """By an error, say."""
        tracker = self.make()
        tracker.open(_run(tmp_path))
        tracker.close(failed=True)

    def test_what_it_is_given_stays_as_it_is(self, tmp_path: Path) -> None:
        """Other trackers are told of the same run."""
        run, tracker = _run(tmp_path), self.make()
        metrics, recipe = dict(_METRICS), deepcopy(run.recipe)
        tracker.open(run)
        tracker.record(metrics)
        tracker.close(failed=False)
        assert metrics == _METRICS, "the tracker changed the metrics"
        assert run.recipe == recipe, "the tracker changed the recipe"


def _run(folder: Path) -> TrackedRun:
    """A new run with two pictures in its folder."""
    own = folder / "run"
    own.mkdir()
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    frames[0].save(own / "still.png")
    frames[0].save(own / "moving.webp", save_all=True, append_images=frames[1:], duration=250)
    recipe = {"name": "test", "seed": 42, "rewards": [{"name": "digit", "weight": 1.0}]}
    return TrackedRun(own, "test/2026-01-01_00-00-00", "a1b2c3d4", 0, recipe)
