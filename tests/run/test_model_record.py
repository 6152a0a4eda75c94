"""What was found of a model is kept with a run, which never goes on with another finding."""

import json

import pytest

from zoo.errors import UserError
from zoo.run import model_record

FOUND = {
    "pipeline": "WanPipeline",
    "guidance": "guidance_scale: the scale, 1 is none",
    "trained": ["transformer"],
    "diffusers": "0.42.1",
    "differs from its own loop": {"guidance 1": 0.0},
}


def test_a_run_goes_on_with_what_it_began_with(tmp_path):
    model_record.keep(tmp_path, FOUND)
    later = {**FOUND, "diffusers": "0.43.0", "differs from its own loop": {"guidance 1": 1e-7}}
    model_record.require_same(tmp_path, later)


def test_another_finding_is_refused_with_what_differs_and_the_fix(tmp_path):
    model_record.keep(tmp_path, FOUND)
    now = {**FOUND, "guidance": "guidance_scale: the scale -1, 0 is none", "diffusers": "0.43.0"}
    with pytest.raises(UserError) as refused:
        model_record.require_same(tmp_path, now)
    said = str(refused.value)
    assert "'guidance' was guidance_scale: the scale, 1 is none" in said
    assert "by diffusers 0.43.0; install diffusers 0.42.1, or start a new run" in said


def test_nothing_is_kept_where_nothing_was_found(tmp_path):
    model_record.keep(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    model_record.require_same(tmp_path, FOUND)
    assert model_record.trained(tmp_path) == ("transformer",)


def test_what_was_trained_is_read_back(tmp_path):
    model_record.keep(tmp_path, {**FOUND, "trained": ["unet"]})
    assert model_record.trained(tmp_path) == ("unet",)


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / model_record.MODEL).write_text(json.dumps([1]))
    with pytest.raises(UserError, match=r"model\.json is damaged"):
        model_record.require_same(tmp_path, FOUND)
