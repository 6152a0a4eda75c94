"""Metrics, warnings, and what a run that goes on makes of both."""

import json
import math

import pytest
from PIL import Image

from zoo.run.console import Display
from zoo.run.tracker import METRICS, RunFiles, Tracker, read, truncate


def opened(folder, done=0):
    return Tracker(folder, [RunFiles(folder), Display("run", 4, done)])


@pytest.fixture
def tracker(tmp_path):
    with opened(tmp_path) as made:
        yield made


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]


def test_a_line_is_strict_json_with_null_for_what_is_not_finite(tracker, tmp_path):
    tracker.record({"epoch": 0, "reward": 0.5, "a": math.nan, "b": math.inf, "c": -math.inf})
    tracker.record({"epoch": 1, "reward": math.nan})
    assert lines(tmp_path) == [
        {"epoch": 0, "reward": 0.5, "a": None, "b": None, "c": None},
        {"epoch": 1, "reward": None},
    ]
    assert "NaN" not in (tmp_path / METRICS).read_text()


def test_a_line_is_there_as_soon_as_it_is_recorded(tracker, tmp_path):
    for epoch in range(3):
        tracker.record({"epoch": epoch, "reward": 0.1})
        assert [line["epoch"] for line in read(tmp_path)] == list(range(epoch + 1))


def test_a_warning_is_shown_once_and_logged_each_time(tracker, tmp_path, capsys):
    tracker.warn("ink is low", "paper is [red]low[/red]")
    tracker.warn("ink is low")
    tracker.warn()
    shown = capsys.readouterr().out
    assert shown.count("ink is low") == 1
    assert "warning: paper is [red]low[/red]" in shown
    assert (tmp_path / "run.log").read_text().splitlines() == [
        "warning: ink is low",
        "warning: paper is [red]low[/red]",
        "warning: ink is low",
    ]


def test_pictures_are_saved_and_from_the_second_on_beside_the_first(tracker, tmp_path):
    assert tracker.tracking_id is None
    tracker.picture(Image.new("RGB", (8, 8)), 0)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["epoch_000000.png"]
    tracker.picture(Image.new("RGB", (8, 8), "white"), 5)
    assert {"epoch_000000.png", "epoch_000005.png"} < {
        path.name for path in (tmp_path / "images").iterdir()
    }


def test_a_broken_picture_before_costs_those_beside_it_and_is_said_once(tmp_path, capsys):
    with opened(tmp_path) as tracker:
        tracker.picture(Image.effect_noise((64, 64), 50), 0)
    first = tmp_path / "images" / "epoch_000000.png"
    first.write_bytes(first.read_bytes()[:1000])
    with opened(tmp_path, 4) as again:
        again.picture(Image.new("RGB", (8, 8), "white"), 5)
        again.picture(Image.new("RGB", (8, 8), "white"), 6)
        assert again.picture_of_two("left", (0, "a"), (5, "b")) is None
        assert again.picture_of_two("left", (5, "a"), (6, "b")) is not None
    names = {path.name for path in (tmp_path / "images").iterdir()}
    assert names == {
        "epoch_000000.png", "epoch_000005.png", "epoch_000006.png", "left_000006.png",
    }  # fmt: skip
    shown = "".join(capsys.readouterr().out.split())
    assert shown.count(f"{first}isdamaged") == 1


def test_a_half_line_at_the_end_is_left_out(tmp_path):
    assert read(tmp_path) == []
    (tmp_path / METRICS).write_text('{"epoch": 0}\n{"epoch": 1}\n{"epo')
    assert [line["epoch"] for line in read(tmp_path)] == [0, 1]


@pytest.mark.parametrize("end", ["", '{"epo', '{"epoch": 3', "{", "\x00\x00"])
def test_a_run_that_goes_on_keeps_the_lines_up_to_its_checkpoint(end, tmp_path):
    whole = [{"epoch": epoch, "reward": None if epoch == 1 else 0.5} for epoch in range(4)]
    (tmp_path / METRICS).write_text("".join(json.dumps(line) + "\n" for line in whole) + end)
    truncate(tmp_path, 2)
    assert lines(tmp_path) == whole[:3]
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]
    with opened(tmp_path, 2) as again:
        again.record({"epoch": 3, "reward": 1})
    assert [line["epoch"] for line in lines(tmp_path)] == [0, 1, 2, 3]


def test_a_run_without_metrics_goes_on_with_none(tmp_path):
    truncate(tmp_path, 2)
    assert lines(tmp_path) == []


def test_other_processes_record_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Tracker(tmp_path) as silent:
        silent.record({"epoch": 0, "reward": 0.5})
        silent.warn("x")
        silent.say("x")
        silent.picture(Image.new("RGB", (8, 8)), 0)
        silent.note("x.json", {})
        assert silent.picture_of_two("x.png", (0, "a"), (0, "b")) is None
        assert list(silent.bar("collecting", 2).over("ab")) == ["a", "b"]
        assert silent.tracking_id is None
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
