"""The files of evaluations: what is written is read, and damage is named."""

import json
import math

import pytest
from PIL import Image

from zoo.run import evaluations
from zoo.run.evaluations import EvaluationRecord, Made, PromptKinds

RECORD = EvaluationRecord(
    5, 2, {"digit": True, "judge": False}, {"digit": (0.25, math.nan), "judge": (1e-9, 2 / 3)},
    ("a <b> 🦊",), 2,
    made=Made({"name": "dpm2"}, 10, 4.5, 42, 480, 832, 81, "ema", "0123456789abcdef"),
    kinds=PromptKinds((0,), ("colors",)),
)  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    evaluations.write(tmp_path, RECORD)
    (found,) = evaluations.read(tmp_path)
    assert found.scores["digit"][0] == 0.25
    assert math.isnan(found.scores["digit"][1])
    assert found.scores["judge"] == pytest.approx((1e-9, 2 / 3), rel=1e-5)
    assert (found.epoch, found.images_per_prompt, found.rewards) == (5, 2, RECORD.rewards)
    assert (found.shown_prompts, found.shown_rows, found.picture) == (("a <b> 🦊",), 2, None)
    assert found.made == RECORD.made
    assert found.kinds == RECORD.kinds
    assert evaluations.read_epoch(tmp_path, 5).scores["judge"] == found.scores["judge"]
    assert evaluations.read_epoch(tmp_path, 6) is None


def rewrite(folder, **changes):
    """The file of an evaluation, as something else has left it."""
    evaluations.write(folder, RECORD)
    path = folder / "evaluations" / "000005.json"
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


def test_a_file_of_an_earlier_version_does_not_say_how_its_images_were_made_or_of_what(tmp_path):
    rewrite(tmp_path, made=..., kinds=...)
    found = evaluations.read_epoch(tmp_path, 5)
    assert (found.made, found.kinds) == (None, None)


@pytest.mark.parametrize("kinds", [{"text": [0, 1], "tag": [None, None]}, {"text": [0], "tag": []}])
def test_kinds_of_other_prompts_than_were_scored_are_damage(kinds, tmp_path):
    rewrite(tmp_path, kinds=kinds)
    with pytest.raises(ValueError, match=r"000005\.json is damaged .*other prompts than"):
        evaluations.read_epoch(tmp_path, 5)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_picture_that_is_there_is_named(suffix, tmp_path):
    evaluations.write(tmp_path, RECORD)
    path = evaluations.picture_path(tmp_path, 5, suffix)
    path.parent.mkdir()
    Image.new("RGB", (4, 4)).save(path)
    assert evaluations.read_epoch(tmp_path, 5).picture == path


def test_a_damaged_file_is_named(tmp_path):
    evaluations.write(tmp_path, RECORD)
    path = tmp_path / "evaluations" / "000005.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"000005\.json is damaged .*; delete it to do without"):
        list(evaluations.read(tmp_path))


def test_a_run_that_goes_on_loses_those_of_later_epochs(tmp_path):
    for epoch in (0, 5, 10):
        evaluations.write(tmp_path, EvaluationRecord(epoch, 1, {}, {}, (), 0))
    evaluations.truncate(tmp_path, 5)
    assert [each.epoch for each in evaluations.read(tmp_path)] == [0, 5]
