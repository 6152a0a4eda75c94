"""`zoo recipes` or `zoo list recipes`, `zoo recipes copy` and `zoo --version`."""

import errno
from pathlib import Path

import pytest

import zoo
from tests.runs import ROOT


def test_each_recipe_is_listed_under_what_was_verified(zoo_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    ended = zoo_here("recipes")
    assert ended.code == 0
    lines = ended.out.splitlines()
    heads = [i for i, line in enumerate(lines) if line.split(":")[0] in
             ("learned here", "as published", "trained tiny")]  # fmt: skip
    assert len(heads) == 3
    listed = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    for path in (ROOT / "recipes").glob("*.yaml"):
        assert path.stem in listed
    (line,) = (line for line in lines if line.startswith("nft_sd3_geneval "))
    assert "the published run" in line
    assert "stable-diffusion-3.5-medium (gated), zoo-geneval" in line
    assert heads[1] < lines.index(line) < heads[2]


def test_they_are_a_kind_of_zoo_list(zoo_here):
    assert zoo_here("list", "recipes") == zoo_here("recipes")
    assert "trackers or recipes" in " ".join(zoo_here("list", "--help").out.split())
    ended = zoo_here("list", "recipes", "--verbose")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: --verbose imports components")


def test_one_is_copied_and_checked_by_its_path(zoo_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert zoo_here("recipes", "copy", "dpo_digits").out == "wrote dpo_digits.yaml\n"
    assert Path("dpo_digits.yaml").read_bytes() == (ROOT / "recipes/dpo_digits.yaml").read_bytes()
    again = zoo_here("recipes", "copy", "dpo_digits")
    assert (again.code, again.out) == (2, "")
    assert "there is a file already" in again.err


@pytest.mark.parametrize("words", [["copy"], ["list"], ["paste", "nft_digits"], ["-o", "x"]])
def test_another_action_is_refused(words, zoo_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = zoo_here("recipes", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: zoo recipes lists them, zoo recipes copy NAME")
    assert list(tmp_path.iterdir()) == []


def test_the_version_has_its_plugins(zoo_here):
    ended = zoo_here("--version")
    assert ended.code == 0
    first, *others = ended.out.splitlines()
    assert first.startswith(f"zoo {zoo.__version__}")
    assert any(line.startswith("zoo-example 0.1") for line in others)
    assert not any(line.startswith("diffusion-rl-zoo") for line in others)


def test_a_copy_that_cannot_be_written_is_said_in_a_line(zoo_here, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "mine.yaml"
    ended = zoo_here("recipes", "copy", "nft_digits", "--out", out)
    said = f"error: {out} cannot be written: Not a directory; name another with --out"
    assert (ended.code, ended.lines) == (2, [said])

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    ended = zoo_here("recipes", "copy", "nft_digits", "--out", tmp_path / "mine.yaml")
    said = f"error: {tmp_path / 'mine.yaml'} cannot be written: No space left on device"
    assert (ended.code, ended.lines) == (2, [said])
