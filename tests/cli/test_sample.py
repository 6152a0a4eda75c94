"""`zoo sample`: prompts in words or from a source, one picture or a folder."""

import json

import pytest
from PIL import Image, ImageChops

from tests.runs import RECIPES

NFT = RECIPES["nft"]


def lines(folder):
    return [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_it_writes_a_row_a_prompt(trained, zoo_here, tmp_path):
    # Tiles of 8 pixels enlarged 8 times, 4 pixels around and between them.
    out = tmp_path / "made" / "x.png"
    pictures = []
    for seed in (0, 0, 1):
        ended = zoo_here(
            "sample", trained[0], "-p", "seven", "-p", "the digit two", "-n", 3,
            "--seed", seed, "--out", out, "--overwrite",
        )  # fmt: skip
        assert ended.code == 0, ended.err
        assert "6 images with the ema weights" in ended.out
        with Image.open(out) as image:
            assert image.size == (4 + 3 * 68, 4 + 2 * 68)
            pictures.append(image.tobytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_words_come_before_a_sources_prompts_and_a_folder_has_all(zoo_here, tmp_path):
    source = tmp_path / "p.txt"
    source.write_text("the digit six\nthe digit one\nthe digit nine\n")
    out = tmp_path / "out"
    ended = zoo_here(
        "sample", NFT, "-p", "seven", "--prompts", source, "--limit", 2, "-n", 2, "--out", out,
        "--solver", "dpm2", "--steps", 3,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert [(each["prompt"], each["file"]) for each in lines(out)[::2]] == [
        ("seven", "images/00000_00.png"),
        ("the digit six", "images/00001_00.png"),
        ("the digit one", "images/00002_00.png"),
    ]
    assert len(list((out / "images").iterdir())) == 6
    assert (out / "grid.png").is_file()
    assert "scores" not in lines(out)[0]


@pytest.mark.slow
def test_an_image_does_not_depend_on_the_prompts_and_images_beside_it(zoo_here, tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    assert zoo_here("sample", NFT, "-p", "seven", "-n", 1, "--out", few).code == 0
    words = ["-p", "two", "-p", "seven", "-p", "nine"]
    assert zoo_here(
        "sample", NFT, *words, "-n", 3, "--out", many, "-s", "engine.micro_batch.sample=2"
    ).code == 0  # fmt: skip
    with (
        Image.open(few / "images/00000_00.png") as one,
        Image.open(many / "images/00001_00.png") as same,
        Image.open(many / "images/00001_01.png") as other,
    ):
        # A batch of another shape may round its last bit otherwise.
        assert max(high for _, high in ImageChops.difference(one, same).getextrema()) <= 1
        assert max(high for _, high in ImageChops.difference(one, other).getextrema()) > 50


@pytest.mark.slow
def test_options_change_the_images(zoo_here, tmp_path):
    made = set()
    for i, changed in enumerate(
        ([], ["--steps", 2], ["--guidance", 3], ["--solver", "dpm2"], ["--seed", 1])
    ):
        out = tmp_path / f"{i}.png"
        assert zoo_here("sample", NFT, "-p", "seven", *changed, "--out", out).code == 0
        made.add(out.read_bytes())
    assert len(made) == 5


def test_without_a_prompt_it_says_how_to_name_one(zoo_here):
    ended = zoo_here("sample", NFT)
    assert ended.code == 2
    (line,) = ended.lines
    assert "--prompt" in line
    assert "--prompts" in line


@pytest.mark.parametrize("word", ["x" * 10_000, "the digit 😀"])
def test_a_prompt_that_the_model_cannot_read_is_said(word, zoo_here, tmp_path):
    ended = zoo_here("sample", NFT, "-p", word, "--out", tmp_path / "x.png")
    assert ended.code == 2
    assert len(ended.lines) == 1
    assert not (tmp_path / "x.png").exists()


def test_a_broken_image_stays_grey_in_its_place_and_has_no_file(
    zoo_here, tmp_path, second_image_broken
):
    out = tmp_path / "out"
    ended = zoo_here("sample", NFT, "-p", "seven", "-p", "two", "-n", 2, "--out", out)
    assert ended.code == 0, ended.err
    assert "1 images came out with NaN or infinity" in ended.err
    assert [each["file"] is None for each in lines(out)] == [False, True, False, False]
    with Image.open(out / "grid.png") as grid:
        assert grid.getpixel((4 + 68 + 30, 4 + 30)) == (128, 128, 128)
        assert grid.getpixel((4 + 30, 4 + 68 + 30)) != (128, 128, 128)


def test_it_asks_for_no_reward_and_no_training_prompts(zoo_here, tmp_path):
    unusable = ["-s", "data.train=gone.txt", "-s", "rewards=[{name: python, path: 'gone.py:f'}]"]
    ended = zoo_here(
        "sample", NFT, *unusable, "-s", "eval.rewards=[]", "-p", "seven", "--out",
        tmp_path / "x.png",
    )  # fmt: skip
    assert ended.code == 0, ended.err


def test_a_folder_is_replaced_only_where_asked(zoo_here, tmp_path):
    out = tmp_path / "out"
    assert zoo_here("sample", NFT, "-p", "seven", "--out", out).code == 0
    ended = zoo_here("sample", NFT, "-p", "two", "-n", 1, "--out", out)
    assert ended.code == 2
    assert "--overwrite" in ended.err
    assert len(lines(out)) == 4
    assert zoo_here("sample", NFT, "-p", "two", "-n", 1, "--out", out, "--overwrite").code == 0
    assert [path.name for path in (out / "images").iterdir()] == ["00000_00.png"]


def test_a_picture_is_replaced_only_where_that_is_asked_for(zoo_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = ["sample", NFT, "-p", "seven", "-n", 1, "--steps", 1]
    (tmp_path / "x.png").write_text("mine")
    refused = zoo_here(*made, "-o", "x.png")
    assert (refused.code, refused.lines) == (
        2, ["error: --out x.png is there; name another file, or replace it with --overwrite"],
    )  # fmt: skip
    assert (tmp_path / "x.png").read_text() == "mine"
    assert zoo_here(*made, "-o", "x.png", "--overwrite").code == 0
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (72, 72)
    # Without a name the next one that is free.
    for name in ("samples.png", "samples_2.png", "samples_3.png"):
        assert f"wrote {name}" in zoo_here(*made).out
    assert len(list(tmp_path.iterdir())) == 4
