"""Prompts that come with images: columns, paths, and what is wrong with them."""

import json
from pathlib import Path

import pyarrow
import pytest
import torch
from pyarrow import parquet

from tests.pictures import encoded, flat, pixels
from zoo.data.images import require
from zoo.data.prompts import load
from zoo.prompt import ImageCell, ImageFile, Prompt, PromptError


def written(folder, name, *rows):
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows))
    elif name.endswith(".csv"):
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return str(path)


def files(prompt):
    assert all(isinstance(image, ImageFile) for image in prompt.images)
    return [image.path.stem for image in prompt.images]


LISTED = {"images": ["pictures/red.png", "pictures/blue.png"], "preference": [0.25, 1]}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
@pytest.mark.parametrize("turned", [False, True])
def test_listed_images_have_a_preference_each(name, turned, folder):
    row = {"prompt": "a cat", "tag": "x", **LISTED}
    if turned:
        row = dict(reversed(row.items()))
    (prompt,) = load(written(folder, name, row))
    assert (prompt.text, files(prompt)) == ("a cat", ["red", "blue"])
    assert prompt.metadata == {"tag": "x", "preference": [0.25, 1]}


def test_images_without_a_preference_are_images(folder):
    (prompt,) = load(written(folder, "a.jsonl", {"prompt": "x", "images": ["pictures/red.png"]}))
    assert (files(prompt), prompt.metadata) == (["red"], {})


@pytest.mark.parametrize(("won", "lost"), [("win", "lose"), ("chosen", "rejected")])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_pair_of_columns_is_winner_and_loser_in_any_order(won, lost, name, turned, folder):
    row = {"caption": "a cat", won: "pictures/green.png", lost: "pictures/red.png"}
    if turned:
        row = dict(reversed(row.items()))
    (prompt,) = load(written(folder, name, row) + "?column=caption")
    assert (prompt.text, files(prompt)) == ("a cat", ["green", "red"])
    assert prompt.metadata == {"preference": [1, 0]}


def test_paths_are_relative_to_the_file_or_absolute(folder, monkeypatch):
    absolute = str(folder / "pictures" / "blue.png")
    source = written(
        folder, "a.jsonl", {"prompt": "x", "win": "pictures/red.png", "lose": absolute}
    )
    monkeypatch.chdir("/")
    (prompt,) = load(source)
    assert [image.path.is_file() for image in prompt.images] == [True, True]
    assert files(prompt) == ["red", "blue"]


def picked(label_0, **more):
    # The columns of Pick-a-Pic v2 that matter here.
    jpegs = {"jpg_0": encoded(flat("red"), "JPEG"), "jpg_1": encoded(flat("blue"), "JPEG")}
    labels = {"label_0": label_0, "label_1": 1 - label_0}
    return {"caption": "a cat", **jpegs, **labels, "has_label": True, **more}


def test_encoded_pairs_with_labels_stay_in_their_table(tmp_path):
    rows = [picked(1.0), picked(0.0), picked(0.5)]
    source = written(tmp_path, "train.parquet", *rows)
    prompts = load(f"{source}?column=caption")
    assert [p.metadata["preference"] for p in prompts] == [[1, 0], [0, 1], [0.5, 0.5]]
    assert prompts[1].metadata == {"preference": [0, 1], "has_label": True}
    assert prompts[1].images == tuple(ImageCell(Path(source), f"jpg_{i}", 1) for i in (0, 1))
    red, blue = (pixels(image, 4, 4)[:, 0, 0] for image in prompts[1].images)
    torch.testing.assert_close(red, torch.tensor([1.0, 0, 0]), rtol=0, atol=0.02)
    torch.testing.assert_close(blue, torch.tensor([0, 0, 1.0]), rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_encoded_winners_and_losers_stay_in_their_table(kind, tmp_path):
    row = {"prompt": "x", "chosen": encoded(flat("red")), "rejected": encoded(flat("blue"))}
    if kind == "struct":
        row = {k: {"bytes": v, "path": None} if k != "prompt" else v for k, v in row.items()}
    (prompt,) = load(written(tmp_path, "train.parquet", row))
    assert [image.column for image in prompt.images] == ["chosen", "rejected"]
    assert prompt.metadata == {"preference": [1, 0]}
    assert pixels(prompt.images[1], 2, 2)[:, 0, 0].tolist() == [0, 0, 1]


def test_encoded_columns_that_are_no_pair_are_left_out(tmp_path):
    row = {"prompt": "x", "thumbnail": b"...", "jpg_0": b"...", "label_0": 1.0}
    (prompt,) = load(written(tmp_path, "a.parquet", row))
    assert (prompt.metadata, prompt.images) == ({"label_0": 1.0}, ())


def test_one_column_of_a_pair_is_metadata_as_any(folder):
    (prompt,) = load(written(folder, "a.jsonl", {"prompt": "x", "win": 0, "chosen": "left"}))
    assert (prompt.metadata, prompt.images) == ({"win": 0, "chosen": "left"}, ())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"images": ["red.png"]}, r"a.jsonl:1: the image file '.*/red.png' does not exist; paths"),
        ({"win": "pictures/red.png", "lose": "no.png"}, "a.jsonl:1: the image file '.*/no.png' do"),
        ({"chosen": "yes, " * 100, "rejected": "no"}, "a.jsonl:1: the image file '.*' does not ex"),
        ({"images": []}, 'a.jsonl:1: its "images" are not a list of paths'),
        ({"images": 3}, 'its "images" are not a list of paths'),
        ({"images": ["pictures/red.png", 3]}, 'its "images" are not a list of paths'),
        ({**LISTED, "preference": [1]}, r'its "preference" is \[1\]; write a list of 2 numbers'),
        ({**LISTED, "preference": 1}, 'its "preference" is 1; write a list of 2 numbers'),
        ({**LISTED, "preference": [1, True]}, "write a list of 2 numbers"),
        ({**LISTED, "preference": ["1", "0"]}, "write a list of 2 numbers"),
        ({**LISTED, "preference": None}, 'its "preference" is None'),
    ],
)
def test_what_is_wrong_with_a_rows_images_is_said_with_its_line(row, said, folder):
    with pytest.raises(PromptError, match=said) as caught:
        load(written(folder, "a.jsonl", {"prompt": "x", **row}))
    assert "\n" not in str(caught.value)


def pair(folder, *names):
    return Prompt("a cat", images=tuple(ImageFile(folder / "pictures" / name) for name in names))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), r"data.group_size is 2, and the prompt 'a cat' comes with none; remove it$"),
        (("red.png",), "comes with 1; remove it$"),
        (("red.png",) * 3, "comes with 3; write data.group_size: 3, or remove it$"),
        (("red.png", "broken.png"), "the prompt 'a cat': '.*broken.png' is no image that Pillow"),
        (("red.png", "gone.png"), "the prompt 'a cat': the image file '.*gone.png' does not ex"),
    ],
)
def test_a_group_needs_as_many_images_as_it_has_members(names, said, folder):
    (folder / "pictures" / "broken.png").write_text("<html>")
    good = pair(folder, "red.png", "blue.png")
    require([good, good], 2, "the sampler 'dataset'")
    with pytest.raises(PromptError, match=said) as caught:
        require([good, pair(folder, *names)], 2, "the sampler 'dataset'")
    assert "\n" not in str(caught.value)
