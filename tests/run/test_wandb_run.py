"""Weights & Biases can be off, offline or unreachable, and a run neither waits nor ends for it."""

import math
import threading
import time

import pytest
import wandb
from PIL import Image

from zoo.run import pictures, wandb_run
from zoo.run.moving import Moving
from zoo.run.wandb_run import WandbRun


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No key, no mode, and all of wandb's own files under the test's folder."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_DIR", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NETRC", "HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    yield
    wandb.teardown()  # it remembers the environment that it was first set up in


def opened(run_dir, warnings, mode, run_id=None):
    return WandbRun(
        run_dir, project="tests", name="run", mode=mode, run_id=run_id, config={"seed": 1},
        warn=warnings.append,
    )  # fmt: skip


def record(run):
    run.record({"epoch": 0, "reward": 0.5, "broken": math.nan})
    run.record({"epoch": 1, "reward": 0.6})
    run.close()


def no_thread_left():
    return not [thread for thread in threading.enumerate() if thread.name == "wandb"]


def test_offline_writes_a_run_to_sync_later(tmp_path):
    warnings = []
    run = opened(tmp_path, warnings, "auto")
    record(run)
    assert warnings == []
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert folder.name.endswith(run.run_id)
    assert list(folder.glob(f"run-{run.run_id}.wandb"))
    assert no_thread_left()


def test_disabled_writes_nothing(tmp_path):
    warnings = []
    record(opened(tmp_path, warnings, "disabled"))
    assert warnings == []
    assert not list(tmp_path.rglob("*.wandb"))
    assert no_thread_left()


def test_a_server_that_is_not_there_is_one_warning_and_no_wait(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_run, "_INIT_SECONDS", 2.0)
    monkeypatch.setattr(wandb_run, "_CLOSE_SECONDS", 20.0)
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
    (sent,) = (tmp_path / "wandb").glob("offline-run-*/files/media/images/*")
    assert sent.read_bytes() == path.read_bytes()


def test_a_run_goes_on_under_its_id(tmp_path):
    assert opened(tmp_path, [], "disabled", "abc12345").run_id == "abc12345"
    assert opened(tmp_path, [], "disabled").run_id != opened(tmp_path, [], "disabled").run_id


class Login:
    """Stands in for wandb: whether it finds a key, and that it is never asked to prompt."""

    def __init__(self, has_key):
        self.has_key = has_key

    def login(self, *, prompt, verify):
        assert not prompt
        assert not verify
        return self.has_key


def test_auto_is_what_the_environment_says_else_online_with_a_key(monkeypatch):
    assert wandb_run._resolve_mode(Login(False), "auto") == "offline"
    assert wandb_run._resolve_mode(Login(True), "auto") == "online"
    assert wandb_run._resolve_mode(Login(True), "offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_run._resolve_mode(Login(True), "auto") == "disabled"
    assert wandb_run._resolve_mode(Login(True), "online") == "online"


def test_online_without_a_key_is_refused_rather_than_asked_for():
    with pytest.raises(RuntimeError, match="wandb login"):
        wandb_run._resolve_mode(Login(False), "online")
