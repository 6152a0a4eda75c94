"""A run on prompts with images: rewards see them, and so do the pictures and the page."""

import json

import pytest
from PIL import Image

from tests.pictures import encoded, flat, noise
from tests.report.checked_html import Checked
from tests.runs import RECIPES, metrics, only_run, settings
from zoo.data.digits import WORDS

CHANGES = {
    "epochs": 1,
    "rewards": "[{name: preservation}, {name: digit}]",
    "eval": "{every: 1, steps: 2, images_per_prompt: 2, rewards: [{name: preservation}]}",
    "data.groups_per_epoch": 2,
    "data.group_size": 4,
    "sampler.steps": 3,
    "optim.updates_per_epoch": 1,
}


def written(folder, num=4):
    """Prompts of the digits model, which leaves the images aside, with a picture each."""
    rows = []
    for i in range(num):
        (folder / f"{i}.png").write_bytes(encoded(noise(i, (8, 12))))
        rows.append({"prompt": f"the digit {WORDS[i]}", "digit": i, "image": f"{i}.png"})
    path = folder / "edits.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def overrides(out, source, **changes):
    options = {**CHANGES, "data.train": source, "data.eval": source, "output_dir": out}
    return settings(options, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from zoo.cli.train import train

    root = tmp_path_factory.mktemp("edits")
    train(RECIPES["nft"], overrides(root / "out", written(root))[1::2], None, None)
    return only_run(root / "out")


@pytest.mark.slow
def test_it_trains_on_what_edits_preserve(run):
    first, last = metrics(run)
    assert -1 <= first["reward/preservation"] <= 1
    assert last["loss"] > 0
    assert "eval/preservation" in last


@pytest.mark.slow
def test_its_page_shows_what_was_edited_above_what_became_of_it(run, zoo_here):
    with Image.open(run / "images" / "inputs_000001.png") as inputs:
        assert inputs.size == (4 + 4 * 68, 4 + 68)
        # An image of 8 x 12 pixels stands within a tile of 8 x 8, white beside it.
        assert inputs.getpixel((6, 40)) == (255, 255, 255)
        assert inputs.getpixel((4 + 32, 40)) != (255, 255, 255)
    ended = zoo_here("report", run)
    assert ended.code == 0, ended.err
    page = Checked((run / "report.html").read_text())
    shown = [alt for alt in page.alts if alt.startswith("the digit one, ")]
    assert shown == [f"the digit one, {row}" for row in ("input", "epoch 0", "epoch 1")]


def test_a_folder_of_samples_names_the_inputs(run, zoo_here, tmp_path):
    (tmp_path / "cat.png").write_bytes(encoded(flat("red")))
    out = tmp_path / "out"
    ended = zoo_here(
        "sample", run, "-p", "seven", "--image", tmp_path / "cat.png", "-n", 1, "--out", out
    )
    assert ended.code == 0, ended.err
    (line,) = (out / "images.jsonl").read_text().splitlines()
    assert json.loads(line)["inputs"] == [str(tmp_path / "cat.png")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-p", "seven", "--image", "no.png"), "the prompt 'seven': the image file 'no.png' does"),
        (("--prompts", "builtin:digits/eval", "-i", "no.png"), "--image is for each --prompt"),
    ],
)
def test_an_image_that_cannot_be_given_is_said_before_anything_loads(words, said, zoo_here):
    ended = zoo_here("sample", RECIPES["nft"], *words)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.lines) == 1


def test_prompts_of_which_one_lacks_its_image_are_refused_with_its_line(zoo_here, tmp_path):
    source = written(tmp_path)
    (tmp_path / "2.png").unlink()
    ended = zoo_here("train", RECIPES["nft"], *overrides(tmp_path / "out", source))
    assert ended.code == 2
    assert f"{source}:3: the image file '{tmp_path / '2.png'}' does not exist" in ended.err
    assert not (tmp_path / "out").exists()


def test_inputs_are_shown_by_zoo_prompts(zoo_here, tmp_path):
    ended = zoo_here("prompts", written(tmp_path), "-n", 1)
    assert f"the digit zero  to edit: {tmp_path / '0.png'}" in ended.out.replace("\n", "")
