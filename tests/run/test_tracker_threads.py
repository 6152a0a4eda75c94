"""Trackers that are slow, that fail and that hang: a run says so once and goes on."""

import math
import threading
from pathlib import Path

import pytest
from PIL import Image

from zoo.plan.preflight import require_trackers
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import load_recipe
from zoo.run import tracker_threads
from zoo.run.tracker import open_tracker
from zoo.run.tracker_threads import TrackerThreads
from zoo.tracker import tensorboard
from zoo.tracker.base import ExperimentTracker, TrackedRun


class Listener(ExperimentTracker):
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def open(self, run):
        self.told.append(("open", run.epoch))

    def record(self, metrics):
        self.told.append(("record", metrics))

    def picture(self, name, path, epoch):
        self.told.append(("picture", name, path.name, epoch))

    def warn(self, text, epoch):
        self.told.append(("warn", text, epoch))

    def close(self, *, failed):
        self.told.append(("close", failed))


class Fails(Listener):
    """At the second record, and at everything after it."""

    def record(self, metrics):
        if len(self.told) > 1:
            raise RuntimeError("the server says no\nand more")
        super().record(metrics)

    def close(self, *, failed):
        super().close(failed=failed)
        raise OSError("and again")


class Leaves(Listener):
    def open(self, run):
        raise SystemExit(3)


class Waits(Listener):
    """Until it may go on."""

    late = "look elsewhere"

    def __init__(self):
        super().__init__()
        self.may_go_on = threading.Event()

    def record(self, metrics):
        self.may_go_on.wait(20)
        super().record(metrics)


def threads(warnings, done=0, **trackers):
    run = TrackedRun(Path("none"), "recipe/run", "a1b2c3d4", done, {})
    return TrackerThreads(trackers, run, warnings.append)


def test_a_tracker_is_told_all_in_order():
    listener, warnings = Listener(), []
    sink = threads(warnings, listener=listener)
    sink.warn("before", again=False)
    sink.record({"epoch": 0, "reward": 0.5, "loss": math.nan})
    sink.picture("images", Image.new("RGB", (8, 8)), Path("x.png"), 1)
    sink.warn("seen", again=False)
    sink.warn("seen", again=True)
    sink.close()
    assert warnings == []
    assert listener.told == [
        ("open", 0), ("warn", "before", 0), ("record", {"epoch": 0, "reward": 0.5}),
        ("picture", "images", "x.png", 1), ("warn", "seen", 1), ("close", False),
    ]  # fmt: skip


def test_a_run_that_goes_on_warns_of_the_epoch_that_goes_on():
    listener = Listener()
    sink = threads([], done=7, listener=listener)
    sink.warn("seen", again=False)
    sink.close(ValueError())
    assert listener.told == [("open", 7), ("warn", "seen", 8), ("close", True)]


def test_one_that_fails_is_one_warning_and_the_others_go_on():
    fails, listener, warnings = Fails(), Listener(), []
    sink = threads(warnings, fails=fails, leaves=Leaves(), listener=listener)
    for epoch in range(4):
        sink.record({"epoch": epoch})
    sink.close()
    assert sorted(warnings) == [
        "fails is off for the rest of this run: RuntimeError: the server says no",
        "leaves is off for the rest of this run: SystemExit: 3",
    ]
    assert [what for what, *_ in fails.told] == ["open", "record", "close"]
    assert [what for what, *_ in listener.told] == ["open", *["record"] * 4, "close"]


def test_a_slow_one_is_told_what_fits_and_what_it_lacks_is_said(monkeypatch):
    monkeypatch.setattr(tracker_threads, "_MOST_WAITING", 3)
    slow, warnings = Waits(), []
    sink = threads(warnings, slow=slow)
    for epoch in range(10):
        sink.record({"epoch": epoch})
    assert [text for text in warnings if "slower" in text] == warnings
    slow.may_go_on.set()
    sink.close()
    assert len(warnings) == 2
    recorded = [entry["epoch"] for what, entry in slow.told if what == "record"]
    # One is in its hands as soon as its thread has begun, and three wait.
    assert recorded == list(range(len(recorded)))
    assert len(recorded) in (3, 4)
    assert warnings[1] == (
        f"slow lacks {10 - len(recorded)} entries, for which it was too slow; metrics.jsonl has all"
    )


def test_one_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(tracker_threads, "_CLOSE_SECONDS", 0.2)
    hangs, listener, warnings = Waits(), Listener(), []
    sink = threads(warnings, hangs=hangs, listener=listener)
    sink.record({"epoch": 0})
    sink.close()
    assert warnings == ["hangs did not finish within 0.2 s; look elsewhere"]
    assert listener.told[-1] == ("close", False)
    hangs.may_go_on.set()


def digits(tmp_path, trackers):
    file = tmp_path / "r.yaml"
    file.write_text(f"extends: nft_digits\ntrackers: {trackers}\n")
    return load_recipe(file)


def test_the_trackers_of_a_recipe_are_told_of_its_run(tmp_path):
    recipe = digits(tmp_path, "[{name: tensorboard}, {name: wandb, mode: disabled}]")
    (tmp_path / "run").mkdir()
    with open_tracker(tmp_path / "run", recipe, tracking_id="e5f6a7b8") as tracker:
        assert tracker.tracking_id == "e5f6a7b8"
        tracker.record({"epoch": 0, "reward": 0.5})
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    with open_tracker(tmp_path / "run", recipe) as tracker:
        assert tracker.tracking_id not in (None, "e5f6a7b8")
    with open_tracker(tmp_path / "run", digits(tmp_path, "[]")) as tracker:
        assert tracker.tracking_id is None


def test_what_a_tracker_needs_is_looked_for_before_a_run(tmp_path, monkeypatch):
    recipe = digits(tmp_path, "[{name: wandb}, {name: tensorboard}]")
    require_trackers(recipe)
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    said = r"r.yaml:2: trackers.1: 'tensorboard' refuses its options: it needs tensorboardX; pip "
    with pytest.raises(RecipeError, match=said):
        require_trackers(recipe)


def test_a_tracker_is_in_a_recipe_once(tmp_path):
    with pytest.raises(RecipeError, match=r"r.yaml:2: trackers names 'wandb' 2 times.*keep one"):
        digits(tmp_path, "[{name: wandb}, {name: wandb, project: x}]")
