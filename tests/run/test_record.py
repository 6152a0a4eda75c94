"""A run is read back without what is damaged, and says so; what it cannot do without is refused."""

import pytest

from tests.forbidden import forbid
from tests.report.run_folder import run_folder
from zoo.errors import UserError
from zoo.run.record import ranking, read_run
from zoo.storage.files import ReadError
from zoo.storage.json_data import DamagedFileError

__all__ = ["forbid"]

OPTIONAL = ("probes.json", "end.json", "metrics.jsonl", "evaluations/000002.json")
TEXTS = ("[1]", '{"epoch": "x"}', "{", "\x00" * 9, "null")
DAMAGED = [
    *((name, text) for name in OPTIONAL for text in TEXTS),
    *((name, "") for name in OPTIONAL if name != "metrics.jsonl"),  # nothing is recorded there
    *(("environment.json", text) for text in ("", "[1]", "null")),  # its keys may be any
]


@pytest.fixture
def folder(tmp_path):
    return run_folder(tmp_path / "run")


@pytest.mark.parametrize(("name", "text"), DAMAGED)
def test_a_damaged_file_that_is_not_needed_is_left_out_and_said(name, text, folder):
    # In a file of lines one that is cut short may only be the last.
    (folder / name).write_text(f'{text}\n{{"epoch": 7}}\n' if name == "metrics.jsonl" else text)
    run = read_run(folder)
    (line,) = run.damaged
    assert line.startswith(f"left out: {folder / name}")
    assert "is damaged (" in line
    assert line in run.warnings
    assert len(run.evaluations) == (3 if name.startswith("evaluations") else 4)


@pytest.mark.parametrize("name", [*OPTIONAL, "environment.json", "run.log"])
def test_what_may_not_be_read_is_left_out_and_said(name, folder, forbid):
    (folder / "run.log").touch()
    forbid(folder / name)
    run = read_run(folder)
    assert run.damaged == (f"left out: {folder / name} cannot be read: Permission denied",)


def test_damaged_metrics_are_why_there_are_no_evaluations(folder, forbid):
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text().replace("{", "", 1))
    with pytest.raises(
        DamagedFileError, match=r"metrics\.jsonl:1 is damaged \(.*; delete that line"
    ):
        ranking(folder)
    forbid(path)
    with pytest.raises(ReadError, match=r"metrics\.jsonl cannot be read: Permission denied"):
        ranking(folder)


def test_a_whole_run_has_nothing_damaged(folder):
    run = read_run(folder)
    assert (run.damaged, run.warnings) == ((), ())
    assert run.probes[0].holds
    assert ranking(folder).damaged == ()


@pytest.mark.parametrize("text", ["", "[]", '"x"', "{"])
def test_a_run_without_its_recipe_is_none(text, folder):
    (folder / "recipe.json").write_text(text)
    with pytest.raises(
        DamagedFileError, match=r"recipe\.json is damaged .*: without it this is no"
    ):
        read_run(folder)
    assert issubclass(DamagedFileError, UserError)


def test_files_of_somebody_else_among_the_evaluations_are_left(folder):
    (folder / "evaluations" / "notes.json").write_text("mine")
    assert len(read_run(folder).evaluations) == 4
    assert read_run(folder).damaged == ()


def test_an_evaluation_of_another_epoch_or_of_fewer_scores_is_damaged(folder):
    path = folder / "evaluations" / "000004.json"
    whole = path.read_text()
    path.write_text(whole.replace('"epoch": 4', '"epoch": 2'))
    assert "(epoch: 2, in the file of another)" in read_run(folder).damaged[0]
    path.write_text(whole.replace("null]", "null, 1]"))
    assert "its scores are of different numbers of images" in read_run(folder).damaged[0]
