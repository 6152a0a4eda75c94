"""Prompts with images to edit or to animate: from every kind of source, and what is wrong there."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from tests.pictures import encoded, flat, noise
from tests.runs import RECIPES
from tests.train_here import recipe
from zoo.data import images
from zoo.data.prompts import load
from zoo.plan.preflight import count_prompts
from zoo.prompt import ImageBytes, ImageCell, ImageFile, Prompt, PromptError


def table(*rows):
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
    return file.getvalue()


def written(folder, name, *rows):
    path = folder / name
    if name.endswith(".parquet"):
        path.write_bytes(table(*rows))
    elif name.endswith((".csv", ".tsv")):
        between = "\t" if name.endswith(".tsv") else ","
        path.write_text(
            "\n".join(between.join(row) for row in ([*rows[0]], *map(dict.values, rows)))
        )
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def names(prompt):
    assert all(isinstance(image, ImageFile) for image in prompt.inputs)
    return [image.path.stem for image in prompt.inputs]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("column", ["image", "input", "inputs"])
def test_a_path_in_a_usual_column_is_an_input_and_no_metadata(kind, column, folder):
    row = {"prompt": "make it blue", column: "pictures/red.png", "tag": "x"}
    (prompt,) = load(written(folder, f"a.{kind}", row))
    assert (names(prompt), prompt.images, prompt.metadata) == (["red"], (), {"tag": "x"})


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_a_list_has_several(kind, folder):
    row = {"prompt": "put them together", "inputs": ["pictures/red.png", "pictures/blue.png"]}
    (prompt,) = load(written(folder, f"a.{kind}", row))
    assert names(prompt) == ["red", "blue"]


@pytest.mark.parametrize("struct", [False, True])
def test_encoded_images_stay_in_their_table(struct, folder):
    picture = noise(1, (6, 4))
    cell = {"bytes": encoded(picture), "path": None} if struct else encoded(picture)
    source = written(folder, "a.parquet", *[{"prompt": f"p{i}", "image": cell} for i in range(3)])
    prompts = load(source)
    assert [prompt.inputs for prompt in prompts] == [
        (ImageCell(Path(source), "image", i),) for i in range(3)
    ]
    for (found,) in images.open_inputs(prompts):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(picture))


def test_other_columns_are_named_and_several_with_commas(folder):
    row = {"prompt": "x", "src": "pictures/red.png", "ref": "pictures/blue.png", "image": "y.png"}
    source = written(folder, "a.jsonl", row)
    (prompt,) = load(f"{source}?input=ref,src")
    assert (names(prompt), prompt.metadata) == (["blue", "red"], {"image": "y.png"})


def test_results_that_are_stored_are_beside_them(folder):
    row = {
        "prompt": "x", "image": "pictures/red.png",
        "images": ["pictures/green.png", "pictures/blue.png"], "preference": [1, 0],
    }  # fmt: skip
    (prompt,) = load(written(folder, "a.jsonl", row))
    assert names(prompt) == ["red"]
    assert [image.path.stem for image in prompt.images] == ["green", "blue"]
    assert prompt.metadata == {"preference": [1, 0]}


@pytest.mark.parametrize(
    "value", ["left", "https://host/a.png", "", 3, ["a", "b"], {"x": 1}, "see a.png for this"]
)
def test_what_is_no_path_of_a_picture_is_metadata_as_before(value, folder):
    (prompt,) = load(written(folder, "a.jsonl", {"prompt": "x", "image": value}))
    assert (prompt.inputs, prompt.metadata) == ((), {"image": value})


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        ({"image": "no.png"}, "", r"a.jsonl:2: the image file '.*/no.png' does not exist; paths"),
        ({"image": "no.png"}, "", r"of prompts; give 'image' another name if it is not to be ed"),
        ({"input": "no.PNG"}, "", r"a.jsonl:2: the image file '.*/no.PNG' does not exist"),
        ({"inputs": ["pictures/red.png", 3]}, "", r'a.jsonl:2: its "inputs" are not all images'),
        ({"src": "no"}, "?input=src", r"a.jsonl:2: the image file '.*/no' does not exist"),
        ({"src": 3}, "?input=src", r"a.jsonl:2: the column 'src' of \?input= holds '3', no image"),
        ({"src": []}, "?input=src", r"holds '\[\]', no image"),
        ({"scr": "x"}, "?input=src", r"'src' of \?input= is not there; did you mean 'scr'\?"),
    ],
)
def test_what_is_wrong_with_a_rows_inputs_is_said_with_its_line(row, options, said, folder):
    good = {"prompt": "x", **{key: "pictures/red.png" for key in row}, "src": "pictures/red.png"}
    with pytest.raises(PromptError, match=said) as caught:
        load(written(folder, "a.jsonl", good, {"prompt": "x", **row}) + options)
    assert "\n" not in str(caught.value)


def test_plain_text_has_no_columns(folder):
    (folder / "a.txt").write_text("x\n")
    with pytest.raises(PromptError, match="is plain text: it has no column 'src'"):
        load(f"{folder}/a.txt?input=src")


def test_a_file_that_is_no_image_is_refused_before_anything_is_loaded(folder):
    (folder / "broken.png").write_text("<html>")
    row = {"prompt": "the digit one", "image": "pictures/red.png"}
    source = written(folder, "a.jsonl", row, {**row, "image": "broken.png"})
    made = recipe(RECIPES["nft"], data__train=source, eval="null", rewards="[{name: diversity}]")
    with pytest.raises(PromptError, match=r"data.train: .*a.jsonl:2: .*broken.png' is no image"):
        count_prompts(made)


def pairs(folder, *names):
    for name in names:
        path = folder / name
        path.write_text(f" make {path.stem}\nbetter ") if name.endswith(
            ".txt"
        ) else path.write_bytes(encoded(flat("red")))
    return str(folder)


def test_a_folder_of_pictures_with_a_text_each_is_a_source(tmp_path):
    source = pairs(tmp_path, "b.JPG", "b.txt", "a.png", "a.txt", ".hidden", "notes.md")
    prompts = load(source)
    assert [(prompt.text, names(prompt)) for prompt in prompts] == [
        ("make a better", ["a"]), ("make b better", ["b"])
    ]  # fmt: skip
    assert prompts[0].place == f"{source}/a.txt"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("a.png", "a.txt", "b.png"), "beside b.png there is no b.txt; add it, or remove the file"),
        (("a.png", "a.txt", "b.txt"), "beside b.txt there is no picture b.webp, say; add it"),
        (("a.png", "a.txt", "a.jpg"), "hold a.jpg and a.png, of which a.txt can be only one's"),
    ],
)
def test_pairs_that_are_not_whole_are_refused(files, said, tmp_path):
    with pytest.raises(PromptError, match=said):
        load(pairs(tmp_path, *files))


def test_an_empty_text_of_a_pair_is_refused(tmp_path):
    source = pairs(tmp_path, "a.png", "a.txt")
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(PromptError, match=r"a.txt is empty; write what is to become"):
        load(source)


def test_a_split_of_a_folder_is_a_file_whatever_pictures_are_beside_it(tmp_path):
    pairs(tmp_path, "train.png")
    (tmp_path / "train.txt").write_text("one\ntwo\n")
    assert [prompt.text for prompt in load(f"{tmp_path}?split=train")] == ["one", "two"]


def test_files_that_a_table_of_the_hub_names_are_fetched_where_the_column_is_named(hub):
    lines = [{"prompt": "x", "image": "b/1.png"}, {"prompt": "y", "image": "b/2.png"}]
    hub.repos["ann/edits"] = {
        "a/train.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode(),
        **{f"a/b/{i}.png": encoded(flat("red")) for i in (1, 2, 3)},
    }
    (plain, _) = load("hub:ann/edits/a/train.jsonl")
    assert (plain.inputs, plain.metadata) == ((), {"image": "b/1.png"})
    assert not [path for path in hub.requests if path.endswith(".png")]
    prompts = load("hub:ann/edits/a/train.jsonl?input=image")
    assert [names(prompt) for prompt in prompts] == [["1"], ["2"]]
    images.require_inputs(prompts)
    assert not [path for path in hub.requests if path.endswith("3.png")]


def test_encoded_inputs_of_the_hub_need_no_name(hub):
    rows = [{"instruction": "x", "input": encoded(flat("blue"))}]
    hub.repos["ann/edits"] = {"data/train-00000-of-00001.parquet": table(*rows)}
    (prompt,) = load("hub:ann/edits?split=train&column=instruction")
    ((found,),) = images.open_inputs([prompt])
    assert found.getpixel((0, 0)) == (0, 0, 255)


def held(picture, kind="PNG", **options):
    return ImageBytes("held", encoded(picture, kind, **options))


def opened(*stored, **options):
    ((*found,),) = images.open_inputs([Prompt("x", inputs=stored)], **options)
    return found


def test_inputs_are_opened_upright_on_white_at_their_own_size():
    turned = Image.Exif()
    turned[0x0112] = 6
    upright, clear = opened(
        held(noise(0, (6, 4)), "JPEG", exif=turned), held(flat((255, 0, 0, 0), mode="RGBA"))
    )
    assert (upright.size, upright.mode) == ((4, 6), "RGB")
    assert clear.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_one_is_shrunk_where_asked_and_a_small_one_is_not_enlarged(kind):
    large, small = opened(held(noise(0, (400, 200)), kind), held(noise(0, (20, 30))), longest=100)
    assert (large.size, small.size) == ((100, 50), (20, 30))


def test_one_prompts_inputs_are_decoded_at_a_time(monkeypatch):
    decoded = []
    decode = images._decode
    monkeypatch.setattr(images, "_decode", lambda *args: decoded.append(1) or decode(*args))
    reading = images.open_inputs([Prompt(str(i), inputs=(held(flat("red")),)) for i in range(3)])
    next(reading)
    assert len(decoded) == 1


def test_cells_of_many_rows_are_found_in_any_order(folder):
    pictures = [noise(i, (2, 2)) for i in range(50)]
    source = written(
        folder, "a.parquet", *[{"prompt": "x", "image": encoded(one)} for one in pictures]
    )
    prompts = load(source)
    for i in (49, 3, 16, 15, 3):
        ((found,),) = images.open_inputs([prompts[i]])
        np.testing.assert_array_equal(np.asarray(found), np.asarray(pictures[i]))


def test_what_cannot_be_opened_is_said_with_its_place():
    prompt = Prompt("x", inputs=(ImageBytes("it", b"no"),), place="a.jsonl:7")
    with pytest.raises(PromptError, match=r"^a.jsonl:7: the prompt 'x': 'it' is no image"):
        list(images.open_inputs([prompt]))
