"""A run on videos, from its first epoch to its report; and what other commands make of it."""

import json
import re

import pytest
import torch
from PIL import Image

from tests.report.checked_html import Checked
from tests.runs import RECIPES, metrics, only_run, settings
from tests.videos import CHANGES, FRAMES, register_videos
from zoo.run import moving
from zoo.training.looks import MEASURES


def overrides(out, **changes):
    return settings({**CHANGES, "output_dir": out}, **changes)


@pytest.fixture(autouse=True)
def videos(monkeypatch):
    register_videos(monkeypatch)
    monkeypatch.setattr(moving, "can_film", lambda: False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from zoo.cli.train import train

    root = tmp_path_factory.mktemp("videos")
    with pytest.MonkeyPatch.context() as patch:
        register_videos(patch)
        train(RECIPES["nft"], overrides(root)[1::2], None, None)
    return only_run(root)


def picture(path):
    with Image.open(path) as opened:
        opened.load()
        return opened.format, opened.n_frames, opened.size, opened.info.get("duration")


def lines(folder):
    return [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_it_trains_on_rewards_over_frames_and_is_evaluated(run):
    first, *others = metrics(run)
    assert len(others) == 2
    for line in (first, *others):
        assert {"reward/digit", "reward/smoothness", "eval/digit", "eval/digit_judge"} <= set(line)
        for name in ("diversity", "similarity", "drift", *MEASURES):
            assert line[f"monitor/{name}"] is not None, name
    assert 0 < first["reward/smoothness"] < 1
    assert all(line["loss"] > 0 for line in others)


@pytest.mark.slow
def test_its_pictures_move(run):
    names = {path.name for path in (run / "images").iterdir()}
    assert {f"epoch_{epoch:06}.webp" for epoch in range(3)} <= names
    assert "before_after.webp" in names
    assert not [name for name in names if name.endswith(".png")]
    form, num, size, milliseconds = picture(run / "images" / "epoch_000001.webp")
    assert (form, num, size, milliseconds) == ("WEBP", FRAMES, (4 + 10 * 68, 4 + 2 * 68), 250)
    assert picture(run / "images" / "before_after.webp")[1] == FRAMES


@pytest.mark.slow
def test_its_page_shows_them_moving(run, zoo_here):
    ended = zoo_here("report", run)
    assert ended.code == 0, ended.err
    page = Checked((run / "report.html").read_text())
    moves = [link for link in page.links if link.startswith("data:image/webp;base64,")]
    # The first video of ten prompts at three evaluations, and all at the first and the last.
    assert len(moves) >= 3 * 10 + 2


def test_a_folder_of_samples_has_a_file_a_video_and_says_how_to_have_others(
    run, zoo_here, tmp_path
):
    out = tmp_path / "out"
    ended = zoo_here("sample", run, "-p", "seven", "-p", "two", "-n", 2, "--fps", 8, "--out", out)
    assert ended.code == 0, ended.err
    assert "videos are WebP files; to have MP4: pip install 'diffusion-rl-zoo[video]'" in ended.out
    assert [line["file"] for line in lines(out)] == [
        f"images/0000{prompt}_0{image}.webp" for prompt in (0, 1) for image in (0, 1)
    ]
    assert picture(out / "images" / "00000_01.webp") == ("WEBP", FRAMES, (8, 8), 125)
    assert picture(out / "grid.webp")[:2] == ("WEBP", FRAMES)
    again = zoo_here("sample", run, "-p", "seven", "-n", 1, "--out", out)
    assert "--overwrite" in again.err
    assert zoo_here("sample", run, "-p", "one", "-n", 1, "--out", out, "--overwrite").code == 0
    assert len(list((out / "images").iterdir())) == 1


@pytest.mark.parametrize(
    ("asked", "written"),
    [("x.png", "x.webp"), ("x.webp", "x.webp"), ("x.gif", "x.gif")],
)
def test_one_picture_of_videos_moves_whatever_it_was_to_be_called(
    asked, written, run, zoo_here, tmp_path
):
    ended = zoo_here("sample", run, "-p", "seven", "-n", 2, "--out", tmp_path / asked)
    assert ended.code == 0, ended.err
    assert f"wrote {tmp_path / written}: 2 images" in ended.out
    assert [path.name for path in tmp_path.glob("x.*")] == [written]
    form, num, size, _ = picture(tmp_path / written)
    assert (form, num, size) == (written[2:].upper(), FRAMES, (4 + 2 * 68, 4 + 68))


def test_a_picture_of_images_stands_still_whatever_it_was_to_be_called(zoo_here, tmp_path):
    ended = zoo_here("sample", RECIPES["nft"], "-p", "seven", "--out", tmp_path / "x.webp")
    assert f"wrote {tmp_path / 'x.png'}" in ended.out
    assert picture(tmp_path / "x.png")[0] == "PNG"


def test_without_pyav_an_mp4_is_refused_before_anything_loads(run, zoo_here, tmp_path):
    ended = zoo_here("sample", run, "-p", "seven", "--out", tmp_path / "x.mp4")
    assert ended.code == 2
    assert ended.err.startswith(f"error: --out {tmp_path / 'x.mp4'} needs PyAV: pip install")
    assert len(ended.lines) == 1


@pytest.mark.slow
def test_an_evaluation_writes_videos_and_their_scores(run, zoo_here, tmp_path):
    out = tmp_path / "out"
    ended = zoo_here("eval", run, "--limit", 2, "-n", 2, "--out", out, "--fps", 2)
    assert ended.code == 0, ended.err
    assert [line["file"] for line in lines(out)][:2] == [f"images/00000_0{i}.webp" for i in (0, 1)]
    assert all({"digit", "digit_judge"} <= set(line["scores"]) for line in lines(out))
    assert picture(out / "grid.webp")[3] == 500
    assert zoo_here("eval", run, "--limit", 1, "-n", 1, "--out", tmp_path / "x.png").code == 0
    assert picture(tmp_path / "x.webp")[1] == FRAMES


def test_with_pyav_single_videos_are_films(run, zoo_here, tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    monkeypatch.setattr(moving, "can_film", lambda: True)
    out = tmp_path / "out"
    ended = zoo_here("sample", run, "-p", "seven", "-n", 1, "--out", out, "--fps", 8)
    assert ended.code == 0, ended.err
    assert "videos are WebP" not in ended.out
    (line,) = lines(out)
    with av.open(str(out / line["file"])) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert film.streams.video[0].average_rate == 8
    assert [frame.shape for frame in frames] == [(8, 8, 3)] * FRAMES


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"rewards": "[{name: digit}]"},
            "-s rewards=.*: the reward 'digit' looks at single images",
        ),
        (
            {"eval": "{rewards: [{name: digit_judge, label: judge}]}"},
            "-s eval=.*: the reward 'judge' looks at single images, .* write frames: mean",
        ),
    ],
)
def test_a_reward_of_images_without_frames_is_refused_before_training(
    changes, said, zoo_here, tmp_path
):
    ended = zoo_here("train", RECIPES["nft"], *overrides(tmp_path, **changes))
    assert ended.code == 2
    assert re.search(said, ended.lines[-1])
    assert not list(tmp_path.glob("*/*/metrics.jsonl"))


def test_a_reward_of_videos_is_refused_where_images_are_made(zoo_here, tmp_path):
    ended = zoo_here("train", RECIPES["nft"], "-s", "rewards=[{name: motion}]",
                     "-s", f"output_dir={tmp_path}")  # fmt: skip
    assert ended.code == 2
    assert "the reward 'motion' looks at videos, and the policy makes single" in ended.lines[-1]


def test_a_broken_video_stays_grey_in_its_place_and_has_no_file(
    run, zoo_here, tmp_path, monkeypatch
):
    from tests.videos import DigitVideos

    decode = DigitVideos.decode

    def broken(self, latents):
        videos = decode(self, latents)
        videos[1, 2] = torch.nan
        return videos

    monkeypatch.setattr(DigitVideos, "decode", broken)
    out = tmp_path / "out"
    ended = zoo_here("sample", run, "-p", "seven", "-n", 2, "--out", out)
    assert "1 images came out with NaN or infinity" in ended.err
    assert [line["file"] is None for line in lines(out)] == [False, True]
    with Image.open(out / "grid.webp") as grid:
        level = grid.convert("RGB").getpixel((4 + 68 + 30, 4 + 30))[0]
    assert abs(level - 128) <= 4


def test_images_can_be_of_another_length_than_those_that_are_trained_on(zoo_here, tmp_path):
    policy = "policy={name: any_videos}"
    options = ["-s", policy, "-s", "eval.rewards=[{name: digit, frames: mean}]", "--steps", "2"]
    out = tmp_path / "scored"
    words = ["--frames", "2", "--limit", "2", "-n", "1", "--out", out]
    ended = zoo_here("eval", RECIPES["nft"], *options, "-s", "rewards=[{name: smoothness}]", *words)
    assert ended.code == 0, ended.err
    results = json.loads((out / "results.json").read_text())
    assert results["made"]["frames"] == results["eval"]["frames"] == 2
    assert results["recipe"]["policy"]["frames"] == FRAMES
    shown = tmp_path / "shown.webp"
    words = ["--frames", "5", "-p", "the digit two", "-n", "1", "-o", shown]
    ended = zoo_here("sample", RECIPES["nft"], *options, *words)
    assert ended.code == 0, ended.err
    assert picture(shown)[1] == 5


def test_a_size_that_there_is_none_of_is_said_in_a_line(zoo_here):
    sample = ["sample", RECIPES["nft"], "-p", "the digit two"]
    for words, said in (
        (["--resolution", "64by32"], "--resolution 64by32: write the side of a square, 512, or"),
        (["--resolution", "64x32"], "--resolution 64x32: eval.resolution is (64, 32), and the"),
        (["--frames", "5"], "--frames 5: eval.frames is 5, and the policy 'digits' has no option"),
    ):
        ended = zoo_here(*sample, *words)
        assert (ended.code, len(ended.lines)) == (2, 1)
        assert said in ended.err


def test_a_check_says_how_large_the_images_of_each_stage_are(zoo_here):
    stages = (
        "[{epochs: 1, policy: {frames: 1}}, {epochs: 2, policy: {frames: 9}, eval: {frames: 2}}]"
    )
    changed = {"policy": "{name: any_videos}", "stages": stages, "epochs": 3,
               "rewards": "[{name: digit, frames: mean}]", "eval.rewards": "[]"}  # fmt: skip
    ended = zoo_here("check", RECIPES["nft"], *overrides("runs", **changed))
    assert ended.code == 0, ended.err
    for said in ("of 1 frame", "of 9 frames", "evaluated by images of 2 frames",
                 "by phase of stage 1"):  # fmt: skip
        assert said in ended.out, said
    first, second = (line for line in ended.out.splitlines() if line.startswith("  stage"))
    assert "stage 0" in first
    assert "stage 1" in second
