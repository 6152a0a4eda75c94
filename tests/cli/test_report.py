"""`zoo report` on a run of its own and on what is none."""

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
