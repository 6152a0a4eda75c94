"""`zoo eval`: its options, what it prints, what it writes."""

import errno
import json
import math
import re

import pytest
from PIL import Image, ImageChops

from tests.runs import RECIPES, metrics, zoo
from zoo.cli.evaluate import show
from zoo.run import pictures
from zoo.training.standard_errors import Estimate, Summary

NFT = RECIPES["nft"]
WORDS = ("zero", "one", "two", "three", "four", "five", "six")


@pytest.fixture
def tagged(tmp_path):
    """Seven prompts of two kinds."""
    path = tmp_path / "tagged.jsonl"
    with path.open("w") as file:
        for digit, word in enumerate(WORDS):
            tag = "even" if digit % 2 == 0 else "odd"
            line = {"prompt": f"the digit {word}", "digit": digit, "tag": tag}
            file.write(json.dumps(line) + "\n")
    return path


@pytest.fixture
def quick(tagged):
    """What makes it short."""
    return ["--prompts", tagged, "--steps", 2, "-n", 3]


def results(folder):
    return json.loads((folder / "results.json").read_text())


def lines(folder):
    return [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]


def away(path, other):
    """The most that any pixel differs, of 255."""
    with Image.open(path) as mine, Image.open(other) as wanted:
        return max(high for _, high in ImageChops.difference(mine, wanted).getextrema())


def test_it_measures_what_the_run_recorded_for_that_checkpoint(trained, zoo_here, tmp_path):
    run, changed = trained
    for i, (arguments, recorded) in enumerate(
        (
            ([run], metrics(run)[3]),
            ([run, "--epoch", 1], metrics(run)[1]),
            ([NFT, *changed, "--weights", "live"], metrics(run)[0]),
        )
    ):
        out = tmp_path / str(i)
        ended = zoo_here("eval", *arguments, "--out", out)
        assert ended.code == 0, ended.err
        assert ended.err == ""
        found = {f"eval/{name}": each["mean"] for name, each in results(out)["metrics"].items()}
        assert found == {key: recorded[key] for key in recorded if key.startswith("eval/")}
        for name, each in results(out)["metrics"].items():
            (row,) = [row.split() for row in ended.out.splitlines() if row.split()[0] == name]
            assert row[1:] == [f"{each['mean']:#.4g}", f"{each['standard_error']:#.2g}", "20"]
    assert "live weights of" in ended.out
    assert results(tmp_path / "1")["epoch"] == 1
    assert results(tmp_path / "1")["weights"] == "ema"


def test_the_folder_has_every_score_and_image_and_what_made_them(quick, zoo_here, tmp_path):
    out = tmp_path / "out"
    ended = zoo_here("eval", NFT, *quick, "--guidance", 2, "--seed", 5, "--out", out)
    assert ended.code == 0, ended.err
    found = lines(out)
    assert [(each["prompt_index"], each["image_index"]) for each in found] == [
        (p, i) for p in range(7) for i in range(3)
    ]
    assert [each["prompt"] for each in found[::3]] == [f"the digit {word}" for word in WORDS]
    assert [each["tag"] for each in found[::3]] == ["even", "odd"] * 3 + ["even"]
    assert found[7]["file"] == "images/00002_01.png"
    for each in found:
        with Image.open(out / each["file"]) as image:
            assert (image.size, image.mode) == ((8, 8), "RGB")
    said = results(out)
    digit = [each["scores"]["digit"] for each in found]
    assert said["metrics"]["digit"]["mean"] == pytest.approx(sum(digit) / 21, rel=1e-12)
    even = [each["scores"]["digit"] for each in found if each["tag"] == "even"]
    by_tag = said["metrics"]["digit"]["tags"]
    assert by_tag["even"]["mean"] == pytest.approx(sum(even) / 12, rel=1e-12)
    assert said["metrics"]["digit"]["mean_of_tags"]["mean"] == pytest.approx(
        (by_tag["even"]["mean"] + by_tag["odd"]["mean"]) / 2, rel=1e-12
    )
    assert (said["eval"]["steps"], said["eval"]["guidance"], said["seed"]) == (2, 2.0, 5)
    assert (said["num_prompts"], said["num_images"], said["processes"]) == (7, 21, 1)
    assert said["prompts"].endswith("tagged.jsonl")
    assert said["command"].startswith(f"zoo eval {NFT}")
    assert "diffusion-rl-zoo" in str(said["environment"]["packages"])
    assert said["checkpoint"] is None
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (4 + 7 * 68, 4 + 3 * 68)
    assert {path.name for path in out.iterdir()} == {
        "results.json", "images.jsonl", "grid.png", "images",
    }  # fmt: skip
    assert len(list((out / "images").iterdir())) == 21


def test_tags_have_rows_of_their_own_under_each_score(quick, zoo_here):
    ended = zoo_here("eval", NFT, *quick, "--rewards", "digit,jpeg_compressibility")
    names = [row.split("  ")[0] or row.strip().split("  ")[0] for row in ended.out.splitlines()]
    score = ["mean of tags", "even", "odd"]
    assert names[1:-1] == ["score", "digit", *score, "jpeg_compressibility", *score]
    assert "± is one standard error over prompts" in ended.out


@pytest.mark.slow
def test_several_processes_make_the_images_and_scores_of_one(quick, tmp_path):
    # The noise is the same; a batch of another shape may round its last bit otherwise.
    for count in (1, 3):
        out = tmp_path / str(count)
        ended = zoo("eval", NFT, *quick, "--processes", count, "--out", out)
        assert ended.returncode == 0, ended.stderr
        assert results(out)["processes"] == count
        for mine, wanted in zip(lines(out), lines(tmp_path / "1"), strict=True):
            assert mine.pop("scores") == pytest.approx(wanted.pop("scores"), rel=1e-5, abs=1e-6)
            assert mine == wanted
            assert away(out / mine["file"], tmp_path / "1" / mine["file"]) <= 1
        assert away(out / "grid.png", tmp_path / "1" / "grid.png") <= 1


def test_a_limit_takes_the_first_prompts_with_the_same_images(quick, zoo_here, tmp_path):
    for limit in (7, 2):
        ended = zoo_here("eval", NFT, *quick, "--limit", limit, "--out", tmp_path / str(limit))
        assert ended.code == 0, ended.err
    few = lines(tmp_path / "2")
    assert len(few) == 6
    for each in few:
        whole, part = (tmp_path / name / each["file"] for name in ("7", "2"))
        assert away(whole, part) <= 1


def test_a_recipe_without_an_evaluation_is_evaluated_with_the_defaults(zoo_here, tmp_path):
    out = tmp_path / "out"
    ended = zoo_here("eval", NFT, "-s", "eval=null", "--limit", 1, "--out", out)
    assert ended.code == 0, ended.err
    said = results(out)
    assert (said["eval"]["steps"], said["images_per_prompt"]) == (40, 4)
    assert [each["name"] for each in said["eval"]["rewards"]] == ["digit"]


def test_what_is_not_needed_is_not_asked_for(zoo_here, tagged, reward_file):
    # Neither training prompts that are not there nor a training reward that cannot start.
    unusable = ["-s", "data.train=gone.txt", "-s", "rewards=[{name: python, path: 'gone.py:f'}]"]
    ended = zoo_here("eval", NFT, *unusable, "--prompts", tagged, "--rewards", "digit", "-n", 1)
    assert ended.code == 0, ended.err
    assert "digit" in ended.out


def test_a_run_can_be_evaluated_on_other_prompts_by_other_rewards(trained, tagged, zoo_here):
    ended = zoo_here(
        "eval", trained[0], "--prompts", tagged, "--rewards", "[{name: digit_judge, label: j}]"
    )
    assert ended.code == 0, ended.err
    assert re.search(r"^j +0\.\d+", ended.out, re.MULTILINE)
    assert re.search(r"^    odd +0\.\d+", ended.out, re.MULTILINE)


@pytest.mark.slow
def test_a_score_says_how_it_was_made_and_its_weights_are_those_of_the_runs_own(
    trained, zoo_here, tmp_path
):
    run = trained[0]
    ended = zoo_here("eval", run, "--out", tmp_path / "last")
    assert ended.code == 0, ended.err
    made = results(tmp_path / "last")["made"]
    (last, *_) = sorted((run / "evaluations").glob("*.json"), reverse=True)
    assert made == json.loads(last.read_text())["made"]
    assert (made["height"], made["width"], made["frames"]) == (8, 8, None)
    assert re.fullmatch("[0-9a-f]{16}", made["fingerprint"])
    other = zoo_here(
        "eval", run, "--weights", "reference", "--steps", 3, "--seed", 9, "--out", tmp_path / "base"
    )
    assert other.code == 0, other.err
    base = results(tmp_path / "base")["made"]
    expected = {"weights": "reference", "fingerprint": None, "steps": 3, "seed": 9}
    assert {key: base[key] for key in expected} == expected


def test_images_without_a_score_are_counted_and_left_out(quick, reward_file, zoo_here, tmp_path):
    some = reward_file("value = images.mean(dim=(1, 2, 3))\nvalue[::3] = torch.nan\nreturn value")
    out = tmp_path / "out"
    ended = zoo_here("eval", NFT, *quick, "--rewards", some["rewards"], "--out", out)
    assert ended.code == 0, ended.err
    values = [each["scores"]["mine"] for each in lines(out)]
    assert [i for i, value in enumerate(values) if value is None] == list(range(0, 21, 3))
    valid = [value for value in values if value is not None]
    found = results(out)["metrics"]["mine"]
    assert found["mean"] == pytest.approx(sum(valid) / 14, rel=1e-12)
    assert (found["num_images"], found["num_invalid"]) == (21, 7)
    (row,) = [row.split() for row in ended.out.splitlines() if row.startswith("mine ")]
    assert row[-2:] == ["21", "7"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return torch.full((len(images),), torch.nan)", "it returned NaN or infinity"),
        ("raise RuntimeError('no ink')", "reward 'mine' raised RuntimeError: no ink"),
    ],
)
def test_a_reward_that_scores_nothing_is_said_after_what_others_scored(
    body, why, quick, reward_file, zoo_here, tmp_path
):
    broken = reward_file(body)
    both = broken["rewards"].replace("]", ", {name: diversity}]")
    out = tmp_path / "out"
    ended = zoo_here(
        "eval", NFT, *quick, "--rewards", both, "-s", f"scoring={broken['scoring']}", "--out", out
    )
    assert ended.code == 2
    (line,) = ended.lines
    assert line.startswith(f"error: no image could be scored by reward 'mine': {why}")
    assert results(out)["metrics"]["mine"]["mean"] is None
    assert math.isfinite(results(out)["metrics"]["diversity"]["mean"])
    assert re.search(r"^diversity +0\.\d+", ended.out, re.MULTILINE)


def test_a_file_of_no_prompts_is_said_and_blank_lines_are_none(zoo_here, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n \n")
    assert "has no prompts" in zoo_here("eval", NFT, "--prompts", path).err
    path.write_bytes(b"\xef\xbb\xbfthe digit two\r\n\n   \nthe digit six\n")
    ended = zoo_here(
        "eval", NFT, "--prompts", path, "--rewards", "diversity", "-n", 2, "--out", tmp_path / "o"
    )
    assert ended.code == 0, ended.err
    assert [each["prompt"] for each in lines(tmp_path / "o")[::2]] == [
        "the digit two", "the digit six",
    ]  # fmt: skip


def test_results_are_replaced_only_where_asked_and_others_files_never(quick, zoo_here, tmp_path):
    out = tmp_path / "out"
    assert zoo_here("eval", NFT, *quick, "--out", out).code == 0
    (out / "images" / "mine.png").touch()
    before = (out / "results.json").read_text()
    ended = zoo_here("eval", NFT, *quick, "--out", out)
    assert ended.code == 2
    assert "holds results.json of an earlier command" in ended.err
    assert "--overwrite" in ended.err
    assert (out / "results.json").read_text() == before
    ended = zoo_here("eval", NFT, *quick, "--limit", 2, "--out", out, "--overwrite")
    assert ended.code == 0, ended.err
    assert results(out)["num_images"] == 6
    assert len(list((out / "images").iterdir())) == 7
    assert (out / "images" / "mine.png").exists()


def test_a_picture_alone_is_a_name_that_ends_in_png(quick, zoo_here, tmp_path):
    ended = zoo_here("eval", NFT, *quick, "--out", tmp_path / "made" / "x.png")
    assert ended.code == 0, ended.err
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["x.png"]


def test_a_full_disk_ends_it_in_one_line(quick, zoo_here, tmp_path, monkeypatch):
    def full(image, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "save", full)
    ended = zoo_here("eval", NFT, *quick, "--out", tmp_path / "out")
    assert ended.code == 2
    assert ended.lines == [
        f"error: --out {tmp_path / 'out'} cannot be written: No space left on device"
    ]


def test_a_broken_image_is_counted_and_has_neither_file_nor_score(
    quick, zoo_here, tmp_path, second_image_broken
):
    out = tmp_path / "out"
    ended = zoo_here("eval", NFT, *quick, "--rewards", "digit", "--out", out)
    assert ended.code == 0, ended.err
    assert "warning: 1 images came out with NaN or infinity" in ended.out
    assert [i for i, each in enumerate(lines(out)) if each["file"] is None] == [1]
    assert lines(out)[1]["scores"] == {"digit": None}
    assert results(out)["num_broken"] == 1
    assert results(out)["metrics"]["digit"]["num_invalid"] == 1


def test_what_a_reward_tells_of_no_image_is_not_shown(capsys):
    none, some = Estimate(math.nan, math.nan, 4, 4), Estimate(0.5, 0.1, 4, 0)
    show({"geneval": Summary(some), "geneval/counting": Summary(none)}, [], 0)
    said = capsys.readouterr().out
    assert "counting" not in said
    assert "invalid" not in said
    show({"geneval": Summary(none)}, [], 0)
    assert "geneval" in capsys.readouterr().out
