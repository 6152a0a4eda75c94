"""`zoo report` on a run of its own and on what is none."""

import json

import pytest

from tests.report.checked_html import Checked
from tests.runs import RECIPES, only_run, overrides


@pytest.mark.slow
def test_a_run_gets_its_page(zoo_here, tmp_path):
    trained = zoo_here("train", RECIPES["nft"], *overrides("nft", tmp_path))
    assert trained.code == 0, trained.err
    folder = only_run(tmp_path)
    ended = zoo_here("report", folder)
    assert (ended.code, ended.out) == (0, f"report: {folder}/report.html\n"), ended.err
    page = Checked((folder / "report.html").read_text())
    assert "objective nft" in page.text
    assert any(alt.startswith("loss by epoch:") for alt in page.alts)


def test_a_folder_that_is_no_run_is_a_mistake(zoo_here, tmp_path):
    ended = zoo_here("report", tmp_path)
    assert ended.code == 2
    assert ended.err == f"error: {tmp_path} is not a run folder: it has no recipe.json\n"


def test_a_file_that_cannot_be_written_is_a_mistake(zoo_here, tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    ended = zoo_here("report", tmp_path, "--out", tmp_path / "none" / "page.html")
    assert ended.code == 2
    assert "cannot write" in ended.err
    assert "give --out FILE" in ended.err


@pytest.mark.parametrize(
    ("command", "file"),
    [(("report", "."), "page.html"), (("votes", "."), "pairs.parquet"), (("schema",), "s.json")],
)
def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(
    command, file, zoo_here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    (tmp_path / file).write_text("mine")
    ended = zoo_here(*command, "--out", file)
    assert (ended.code, ended.lines) == (
        2, [f"error: --out {file} is there; name another file, or replace it with --overwrite"],
    )  # fmt: skip
    assert (tmp_path / file).read_text() == "mine"


def test_a_schema_takes_the_place_of_an_earlier_one_where_that_is_asked_for(zoo_here, tmp_path):
    (tmp_path / "s.json").write_text("old")
    assert zoo_here("schema", "--out", tmp_path / "s.json", "--overwrite").code == 0
    assert json.loads((tmp_path / "s.json").read_text())["title"] == "A recipe of zoo"
    ended = zoo_here("schema", "--out", tmp_path / "s.json" / "x.json")
    assert ended.code == 2
    assert "cannot be written: " in ended.err
