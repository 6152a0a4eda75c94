"""zoo from Python: a run is trained, looked at, sampled, exported, interrupted and gone on with."""

import io
import math
import os
import signal
import threading
import time

import pytest
from PIL import Image
from safetensors.torch import load_file

import zoo
from tests.runs import require_same
from zoo.errors import UserError

SMALL = {
    "data.groups_per_epoch": 2, "data.group_size": 4, "sampler.steps": 2,
    "optim.updates_per_epoch": 1, "eval.images_per_prompt": 1, "eval.steps": 2, "eval.every": 1,
    "checkpoint.every": 1, "engine.micro_batch": {"sample": 8, "train": 8},
}  # fmt: skip


def trained(out, epochs=2, **more):
    return zoo.train("nft_digits", {**SMALL, "output_dir": str(out), **more}, epochs=epochs)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"))


def test_importing_zoo_imports_no_torch():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = zoo.trian
    assert set(zoo.__all__) >= {"train", "open_run", "Run"}


@pytest.mark.slow
def test_a_run_has_its_numbers_by_column(run):
    metrics = run.metrics
    assert list(metrics["epoch"]) == [0, 1, 2]
    assert list(metrics)[:3] == ["epoch", "reward", "eval/judge"]
    assert metrics.num_rows == 3
    assert math.isnan(metrics["loss"][0])
    assert all(math.isfinite(loss) for loss in metrics["loss"][1:])
    assert "loss" not in run.evaluations
    assert run.evaluations["eval/judge"] == metrics["eval/judge"]
    assert run.recipe["objective"]["name"] == "nft"
    assert repr(run) == f"Run {run.folder}: 2 of 2 epochs"


def test_a_folder_is_opened_again(run):
    again = zoo.open_run(str(run.folder))
    assert again.metrics["reward"] == run.metrics["reward"]
    assert list(again.metrics) == list(run.metrics)
    assert again.best.epoch in (0, 1, 2)
    assert "record" not in repr(again.best)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="recipe"):
        zoo.open_run(tmp_path)


def test_a_notebook_shows_scores_before_and_after_and_the_picture(run):
    html = run._repr_html_()
    assert "<td>judge</td>" in html
    assert 'src="data:image/png;base64,' in html
    assert "<th>reward</th>" in run.metrics._repr_html_()


def test_names_of_others_are_escaped_in_a_notebook(run):
    columns = zoo.api.Columns([{"epoch": 1, "eval/<b>\x1b": 2.0}], ("epoch",))
    assert r"<th>eval/&lt;b&gt;\x1b</th>" in columns._repr_html_()


def test_images_of_prompts(run, tmp_path):
    images = run.sample(["the digit seven", "the digit one"], 3, steps=2, out=tmp_path / "seen")
    assert len(images) == len(list(images)) == 6
    assert images[0].size == (8, 8)
    assert [image.tobytes() for image in images.of(1)] == [
        images[index].tobytes() for index in (3, 4, 5)
    ]
    with Image.open(io.BytesIO(images._repr_png_())) as grid:
        assert grid.width > grid.height
    again = run.sample("the digit seven", 3, steps=2, epoch=2)
    assert [image.tobytes() for image in again] == [image.tobytes() for image in images.of(0)]
    other = run.sample("the digit seven", 3, steps=2, seed=1)
    assert [image.tobytes() for image in other] != [image.tobytes() for image in again]


def test_a_folder_of_images_is_left_as_it_is(run, tmp_path):
    kept = tmp_path / "mine.txt"
    kept.write_text("kept")
    (image,) = run.sample("the digit one", 1, steps=1, out=tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path} holds images already"):
        run.sample("the digit two", 1, steps=1, out=tmp_path)
    with pytest.raises(UserError, match="out is a folder for the files"):
        run.sample("the digit one", 1, steps=1, out=tmp_path / "x.png")
    assert kept.read_text() == "kept"
    assert Image.open(tmp_path / "images" / "00000_00.png").tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepz": 3}, "sample has no option stepz; allowed: weights, seed, guidance"),
        ({"epoch": 9}, "9"),
        ({"epoch": 1, "best": True}, "both name a checkpoint"),
        ({"weights": "odd"}, "allowed are live"),
        ({"num": 0}, "num of at least 1"),
    ],
)
def test_a_wrong_option_of_sample_is_refused(options, message, run):
    with pytest.raises(UserError, match=message):
        run.sample("the digit one", **options)


def test_an_export_is_written(run, tmp_path):
    out = run.export(tmp_path / "lora", best=True)
    assert load_file(out / "pytorch_lora_weights.safetensors")
    with pytest.raises(UserError, match="allowed are diffusers, peft"):
        run.export(tmp_path / "other", format="odd")


@pytest.mark.slow
def test_the_report_is_written(run, tmp_path):
    assert "<html" in run.report(tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([], {}, r"train needs a recipe, train\(\"nft_digits\"\)"),
        (["nft_digit"], {}, "did you mean 'nft_digits'"),
        (["nft_digits", {"objective.bta": 1}], {}, r"overrides\['objective.bta'\]: unknown key"),
        (["nft_digits", ["objective.bta=1"]], {}, "-s objective.bta=1: unknown key"),
        (["nft_digits", "objective.beta=1"], {}, "a mapping or a list, not text"),
        (["nft_digits", {"engine.processes": 2}], {}, "engine.processes makes 2; give"),
        (["nft_digits"], {"epochs": 0}, "epochs"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_made(
    arguments, options, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        zoo.train(*arguments, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_and_a_run_are_not_both_given(run):
    with pytest.raises(UserError, match="needs a recipe"):
        zoo.train("nft_digits", resume=run)
    with pytest.raises(UserError, match="tiny starts a run"):
        zoo.train(resume=run, tiny=True)


@pytest.mark.slow
def test_an_interrupted_run_is_given_and_goes_on_as_if_it_never_was(tmp_path):
    whole = trained(tmp_path / "whole", 6)

    def interrupt():
        while not list(tmp_path.glob("cut/nft_digits/*/checkpoints/000002")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    cut = trained(tmp_path / "cut", 6)
    assert 2 <= cut.metrics["epoch"][-1] < 6
    again = zoo.train(resume=cut)
    assert again.folder == cut.folder
    require_same(again.folder, whole.folder)
    assert zoo.train(resume=cut.folder).metrics["epoch"][-1] == 6
