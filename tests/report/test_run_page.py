import json
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests.report.checked_html import Checked
from tests.report.run_folder import MADE, metrics, run_folder, write, write_metrics
from zoo.errors import UserError
from zoo.report.monitors import MONITORS
from zoo.report.run import write_run
from zoo.run.record import read_run
from zoo.training.base_range import WATCHED
from zoo.training.looks import MEASURES


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("runs") / "first run")


@pytest.fixture(scope="module")
def page(whole):
    """Written once: drawing takes seconds."""
    return read(whole)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def read(folder) -> Checked:
    return Checked(write_run(read_run(folder)).read_text(encoding="utf-8"))


def test_a_page_says_what_was_run_and_what_came_of_it(page):
    page.require(
        "objective nft (beta 0.1)", "solver dpm2, 10 steps", "trained on fox", "held out judge",
        "groups without spread 43.8% of all, 6 (75.0%) in the last epoch",
        "epochs 6 of 6", "12,000 forwards", "ended all 6 epochs",
        "fox trained on 0.000 ± 0.020 0.865 ± 0.020 0.865 6",
        "judge held out -0.100 ± 0.030 0.765 ± 0.030 0.765 6",
        "collect 6.00 s 60.0 % 1.00 s 6", "evaluate 1.00 s 10.0 % 0.250 s 4",
        "collect 2.00 not known", "learn 4.00 25.0 %",
        "rewards, when all images were made 0.900 s 10.0 %",
        "broken images 0 0 ± 0 yes", "code of zoo abc123",
        "evaluated on 2 a prompt of 8 x 8, by 10 steps of euler, guidance 1, seed 42, "
        "with ema weights",
    )  # fmt: skip
    assert "Missing:" not in page.text
    assert "n/a" not in page.text


def test_every_section_has_the_command_that_makes_it(page, whole):
    assert page.text.count(f"made by: zoo report '{whole}'") == page.tags.count("section") > 6


def test_every_figure_and_picture_is_told_in_words(page):
    assert all(page.alts)
    assert len(page.alts) == page.tags.count("img")
    assert "fox by epoch: from 0 to 0.865" in page.alts


def test_what_a_user_wrote_is_shown_as_text(page):
    assert "script" not in page.tags + page.drawn
    assert "b" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "a <b>red</b> fox & $x$" in page.text


def test_a_page_needs_nothing_but_itself(page):
    assert page.drawn.count("svg") > 8
    assert all(link.startswith(("#", "data:image/")) for link in page.links)


@pytest.mark.slow
def test_drawings_are_as_large_as_their_place_before_they_are_read(whole):
    images = re.findall("<img[^>]*>", write_run(read_run(whole)).read_text(encoding="utf-8"))
    assert all(re.search(r' width="\d+" height="\d+" ', image) for image in images)


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(whole, tmp_path):
    command = (
        "import sys; from pathlib import Path; from zoo.report.run import write_run; "
        "from zoo.run.record import read_run; run, out = map(Path, sys.argv[1:]); "
        "write_run(read_run(run), out)"
    )
    b = tmp_path / "b.html"
    write_run(read_run(whole), tmp_path / "a.html")
    arguments = [sys.executable, "-c", command, str(whole), str(b)]
    subprocess.run(arguments, check=True, env={"PYTHONHASHSEED": "7"})
    assert (tmp_path / "a.html").read_bytes() == b.read_bytes()


@pytest.mark.slow
def test_many_evaluations_are_shown_as_eight(tmp_path):
    page = read(run_folder(tmp_path / "run", epochs=30, every=1))
    shown = [alt for alt in page.alts if alt.startswith("two `cats` | dogs, epoch ")]
    assert [alt.rpartition(" ")[2] for alt in shown] == [
        "0",
        "4",
        "9",
        "13",
        "17",
        "21",
        "26",
        "30",
    ]


@pytest.mark.slow
def test_a_run_without_evaluations_says_so(folder):
    shutil.rmtree(folder / "evaluations")
    shutil.rmtree(folder / "images")
    kept = [
        {key: value for key, value in line.items() if not key.startswith(("eval", "monitor"))}
        for line in metrics(folder)
    ]
    write_metrics(folder, kept)
    read(folder).require(
        "There are no evaluations:", "No monitor/* is recorded", "No image's scores"
    )


def test_evaluations_that_were_made_otherwise_are_told_from_those_before(folder):
    path = folder / "evaluations" / "000004.json"
    evaluation = json.loads(path.read_text())
    write(path, evaluation | {"made": MADE | {"steps": 20, "frames": 5}})
    read(folder).require(
        "evaluated on 2 a prompt of 8 x 8, by 10 steps",
        "; from epoch 4 on 2 a prompt of 8 x 8, 5 frames, by 20 steps of euler",
        "; from epoch 6 on 2 a prompt of 8 x 8, by 10 steps",
    )


@pytest.mark.slow
def test_an_older_run_shows_the_scores_that_it_has(folder):
    shutil.rmtree(folder / "evaluations")
    for name in ("end.json", "probes.json", "environment.json"):
        (folder / name).unlink()
    kept = [
        {key: value for key, value in line.items() if not key.startswith(("eval_error", "monitor"))}
        for line in metrics(folder)
    ]
    write_metrics(folder, kept)
    page = read(folder)
    page.require(
        "ended not yet", "held out not recorded", "has not come to its end",
        "No standard errors are recorded",
        "There are no evaluations' records", "No probes are recorded", "no environment.json",
        "judge -0.100 0.765", "evaluated on not recorded",
    )  # fmt: skip
    assert "judge by epoch: from -0.1 to 0.765" in page.alts


def test_a_run_that_has_only_begun_has_a_page(folder):
    shutil.rmtree(folder / "evaluations")
    for name in ("end.json", "metrics.jsonl"):
        (folder / name).unlink()
    read(folder).require("epochs n/a of 6", "There are no evaluations:", "No epoch has been timed")


@pytest.mark.slow
def test_one_epoch_is_enough(tmp_path):
    page = read(run_folder(tmp_path / "run", epochs=1))
    assert "fox by epoch: from 0 to 0.283" in page.alts


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_counted_not_drawn(folder):
    lines = metrics(folder)
    for line in lines[1:]:
        line |= {"grad_norm": None, "eval/fox": None}
        if line["epoch"] > 4:
            line["kl"] = None
    write_metrics(folder, lines)
    text = read(folder).text
    assert "Never finite: grad_norm." in text
    assert "kl (not finite in 2 of 6 epochs)." in text
    assert "fox trained on 0.000 ± 0.020 n/a 0 0" in text


def test_images_without_a_score_are_counted(page):
    assert "fox of single images, the same bins; 3 images have no score." in page.text


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["deleted", "cut off", "another size"])
def test_a_picture_that_cannot_be_cut_is_said(folder, damage):
    path = folder / "images" / "epoch_000002.png"
    if damage == "deleted":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:60])
    else:
        Image.new("RGB", (33, 17)).save(path)
    page = read(folder)
    assert "Without a picture that can be read: the evaluations at 2." in page.text
    assert not any("epoch 2" in alt for alt in page.alts if "dogs" in alt)


@pytest.mark.slow
def test_warnings_stand_at_the_top_and_in_the_monitor_with_their_picture(folder):
    said = "trained and held-out rewards have parted: <i>fox</i>"
    (folder / "run.log").write_text(
        f"noise\nwarning: {said}\nwarning: {said}\nwarning: slow disk\n"
    )
    shutil.copy(folder / "images" / "epoch_000004.png", folder / "images" / "parted_000004.png")
    page = read(folder)
    assert page.text.count(said) == 2
    assert page.text.count("slow disk") == 1
    assert "Trained and held-out rewards had parted at epoch 4." in page.alts


def test_what_images_are_like_is_drawn_with_the_range_before_training(page):
    for key in MONITORS:
        assert any(alt.startswith(f"{key} by epoch: from") for alt in page.alts), key
    assert page.text.count("; dotted: the range before training.") == len(WATCHED)
    assert page.text.count("; band: one standard deviation over images") == len(MEASURES)


@pytest.mark.slow
def test_a_run_of_before_there_were_these_measures_shows_those_that_it_has(folder):
    new = (*WATCHED, "monitor_std/")
    kept = [
        {key: value for key, value in line.items() if not any(name in key for name in new)}
        for line in metrics(folder)
    ]
    write_metrics(folder, kept)
    page = read(folder)
    assert "saturated by epoch: from 0.1 to 0.16" in page.alts
    assert not any(name in alt for alt in page.alts for name in WATCHED)
    assert "the range before training" not in page.text


@pytest.mark.slow
def test_images_that_have_left_their_range_are_told_with_their_picture(folder):
    said = "epoch 4: images have left the range of those before training: the reward may be cheated"
    (folder / "run.log").write_text(f"warning: {said}\n")
    shutil.copy(folder / "images" / "epoch_000004.png", folder / "images" / "left_000004.png")
    page = read(folder)
    assert page.text.count(said) == 2
    assert "Images had left the range of those before training at epoch 4." in page.alts


@pytest.mark.slow
def test_a_run_whose_rewards_are_all_trained_on_is_told_what_it_cannot_see(folder):
    for path in (folder / "evaluations").glob("*.json"):
        found = json.loads(path.read_text())
        write(path, found | {"rewards": {"fox": True, "judge": True}})
    assert "nothing here can show that they are cheated" in read(folder).text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a run folder: it has no recipe\.json"):
        read_run(tmp_path)


@pytest.mark.slow
def test_evaluations_of_other_prompts_are_told_from_those_before(folder):
    lines = metrics(folder)
    for line in lines[5:]:
        line["monitor/compared_since"] = 5
    write_metrics(folder, lines)
    assert read(folder).text.count("From epoch 5 on evaluations are of other prompts") == 1


@pytest.mark.slow
def test_what_would_steer_a_page_is_shown(folder):
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["note"] = "p\u202etxt.\x1b[2J"
    write(folder / "recipe.json", recipe)
    (folder / "run.log").write_text("warning: a \x1b]0;title\x07 b\n", encoding="utf-8")
    text = write_run(read_run(folder)).read_text(encoding="utf-8")
    assert text.replace("\n", "").isprintable()
    assert r"a \x1b]0;title\x07 b" in text
