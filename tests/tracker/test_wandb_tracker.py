"""Weights & Biases can be off, offline or unreachable, and has what a run says in its own files."""

import math
import struct
import threading
import time
from json import loads

import pytest
import wandb
from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record

from zoo.run import pictures, tracker_threads
from zoo.run.moving import Moving
from zoo.run.tracker_threads import TrackerThreads
from zoo.testing import TrackerTests
from zoo.tracker import wandb_tracker
from zoo.tracker.base import TrackedRun
from zoo.tracker.wandb_tracker import Wandb

ID = "a1b2c3d4"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No key, no mode, and all of wandb's own files under the test's folder."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_DIR", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NETRC", "HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    yield
    wandb.teardown()  # it remembers the environment that it was first set up in


class TestContract(TrackerTests):
    def make(self):
        return Wandb()


def opened(run_dir, warnings, mode):
    run = TrackedRun(run_dir, "recipe/run", ID, 0, {"seed": 1})
    return TrackerThreads({"wandb": Wandb(project="tests", mode=mode)}, run, warnings.append)


def record(run):
    run.record({"epoch": 0, "reward": 0.5, "broken": math.nan})
    run.record({"epoch": 1, "reward": 0.6, "eval/digit": 0.25, "step": 4})
    run.close()


def no_thread_left():
    return not [thread for thread in threading.enumerate() if thread.name == "tracker wandb"]


def records(run_dir):
    """What is in wandb's file: the log of LevelDB, in blocks of 32 KiB, of its own messages."""
    wandb.teardown()  # what writes the file is a process of its own
    (path,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    content, at, parts = path.read_bytes(), 7, []
    assert content[:4] == b":W&B"
    while at < len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts.append(content[at + 7 : at + 7 + size])
        at += 7 + size
        if kind in (1, 4):  # a record that is whole, or the last part of one
            yield Record.FromString(b"".join(parts))
            parts = []


def history(found):
    """Each row that was logged, with what is nested in it; without wandb's own columns."""
    for one in found:
        if one.HasField("history"):
            row = {}
            for item in one.history.item:
                *outer, last = item.nested_key or [item.key]
                into = row
                for key in outer:
                    into = into.setdefault(key, {})
                into[last] = loads(item.value_json)
            yield {key: value for key, value in row.items() if not key.startswith("_")}


def test_offline_files_have_the_run_by_epoch_and_in_groups(tmp_path):
    warnings, path = [], tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(path)
    run = opened(tmp_path, warnings, "auto")
    run.picture("images", Image.new("RGB", (8, 8)), path, 0)
    run.record({"epoch": 0, "reward": 0.5, "broken": math.nan})
    run.warn("the reward may be <cheated>", again=False)
    run.warn("the reward may be <cheated>", again=True)
    run.record({"epoch": 1, "reward": 0.6, "eval/digit": 0.25, "step": 4, "images_per_second": 9})
    run.close()
    assert warnings == []
    assert no_thread_left()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    found = list(records(tmp_path))

    # The run, its recipe, and the axis of every chart.
    (told,) = [one.run for one in found if one.HasField("run")]
    assert (told.project, told.run_id, told.display_name) == ("tests", ID, "recipe/run")
    assert {item.key: item.value_json for item in told.config.update}["seed"] == "1"
    metrics = [one.metric for one in found if one.HasField("metric")]
    assert {one.glob_name for one in metrics if one.step_metric == "epoch"} == {"*", "progress/*"}
    assert [one.options.hidden for one in metrics if one.name == "epoch"] == [True]
    assert [one.options.hidden for one in metrics if one.glob_name == "progress/*"] == [True]

    # What it was told: numbers in groups, a picture, and a warning once.
    rows = list(history(found))
    assert all("epoch" in row for row in rows)
    assert {"train/reward": 0.5, "epoch": 0} in rows
    last = {"train/reward": 0.6, "eval/digit": 0.25, "progress/step": 4, "epoch": 1}
    assert {**last, "speed/images_per_second": 9} in rows
    (picture,) = [row["pictures/images"] for row in rows if "pictures/images" in row]
    assert (folder / "files" / picture["path"]).read_bytes() == path.read_bytes()
    (panel,) = [row["warnings"] for row in rows if "warnings" in row]
    assert "epoch 1: the reward may be &lt;cheated&gt;" in (
        folder / "files" / panel["path"]
    ).read_text(encoding="utf-8")
    (alert,) = [one.alert for one in found if one.HasField("alert")]
    assert (alert.text, alert.level) == ("the reward may be <cheated>", "WARN")


def test_a_run_that_failed_is_one_there_too(tmp_path):
    run = opened(tmp_path, [], "offline")
    run.close(ValueError("of the run"))
    assert [one.exit.exit_code for one in records(tmp_path) if one.HasField("exit")] == [1]


def test_disabled_writes_nothing(tmp_path):
    warnings = []
    record(opened(tmp_path, warnings, "disabled"))
    assert warnings == []
    assert not list(tmp_path.rglob("*.wandb"))
    assert no_thread_left()


@pytest.mark.slow
def test_a_server_that_is_not_there_is_one_warning_and_no_wait(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_tracker, "_INIT_SECONDS", 2.0)
    monkeypatch.setattr(tracker_threads, "_CLOSE_SECONDS", 20.0)
    warnings = []
    started = time.perf_counter()
    run = opened(tmp_path, warnings, "online")
    run.record({"epoch": 0, "reward": 0.5})
    run.picture("images", Image.new("RGB", (8, 8)), tmp_path / "none.png", 0)
    assert time.perf_counter() - started < 2  # nothing was waited for
    run.close()
    assert len(warnings) == 1
    assert "wandb" in warnings[0]
    assert "\n" not in warnings[0]


def test_what_wandb_refuses_is_one_warning(tmp_path):
    warnings = []
    run = opened(tmp_path, warnings, "offline")
    run.picture("images", Image.new("RGB", (8, 8)), tmp_path / "none.png", 0)
    record(run)
    (said,) = warnings
    assert said.startswith("wandb is off for the rest of this run: ")


def test_a_picture_that_moves_is_sent_as_it_is(tmp_path):
    def draw(i):
        return Image.new("RGB", (8, 8), ("red", "blue")[i])

    picture, path, warnings = Moving(draw, 2, (8, 8), 4.0), tmp_path / "x.webp", []
    pictures.save(picture, path)
    run = opened(tmp_path, warnings, "offline")
    run.picture("images", picture, path, 0)
    record(run)
    assert warnings == []
    (sent,) = (tmp_path / "wandb").glob("offline-run-*/files/media/images/**/*.webp")
    assert sent.read_bytes() == path.read_bytes()


class Login:
    """Stands in for wandb: whether it finds a key, and that it is never asked to prompt."""

    def __init__(self, has_key):
        self.has_key = has_key

    def login(self, *, prompt, verify):
        assert not prompt
        assert not verify
        return self.has_key


def test_auto_is_what_the_environment_says_else_online_with_a_key(monkeypatch):
    assert wandb_tracker._resolve_mode(Login(False), "auto") == "offline"
    assert wandb_tracker._resolve_mode(Login(True), "auto") == "online"
    assert wandb_tracker._resolve_mode(Login(True), "offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_tracker._resolve_mode(Login(True), "auto") == "disabled"
    assert wandb_tracker._resolve_mode(Login(True), "online") == "online"


def test_online_without_a_key_is_refused_rather_than_asked_for():
    with pytest.raises(RuntimeError, match="wandb login"):
        wandb_tracker._resolve_mode(Login(False), "online")
