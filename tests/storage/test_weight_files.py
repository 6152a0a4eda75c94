"""Files of weights are found by the names that diffusers and transformers give them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from zoo.storage.weight_files import num_elements, weight_files


def put(folder, name, **shapes):
    folder.mkdir(exist_ok=True)
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, folder / name)


def index(folder, name, *files):
    folder.mkdir(exist_ok=True)
    names = {f"tensor{i}": file for i, file in enumerate(files)}
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": names}))


def names(folder, variant=None):
    return [path.name for path in weight_files(folder, variant)]


@pytest.mark.parametrize("stem", ["diffusion_pytorch_model", "model"])
def test_a_file_and_one_of_a_variant(stem, tmp_path):
    put(tmp_path, f"{stem}.safetensors", a=(2, 3), b=(5,))
    assert names(tmp_path) == [f"{stem}.safetensors"]
    assert num_elements(weight_files(tmp_path)) == 11
    assert num_elements(weight_files(tmp_path), lambda name: name == "b") == 5
    with pytest.raises(ValueError, match=r"no file of weights of the variant 'fp16'; it has "):
        weight_files(tmp_path, "fp16")
    put(tmp_path, f"{stem}.fp16.safetensors", a=(4,))
    assert names(tmp_path, "fp16") == [f"{stem}.fp16.safetensors"]


@pytest.mark.parametrize(
    ("file", "variant"),
    [
        ("model.safetensors.index.json", None),
        ("model.safetensors.index.fp16.json", "fp16"),
        ("diffusion_pytorch_model.fp16.safetensors.index.json", "fp16"),
    ],
)
def test_an_index_names_several(file, variant, tmp_path):
    shards = ("one.safetensors", "two.safetensors")
    index(tmp_path, file, *shards, shards[0])
    put(tmp_path, shards[0], a=(3,))
    with pytest.raises(ValueError, match=r"lacks two.safetensors, of 2 files of weights that "):
        weight_files(tmp_path, variant)
    put(tmp_path, shards[1], b=(4,))
    assert names(tmp_path, variant) == list(shards)
    assert num_elements(weight_files(tmp_path, variant)) == 7


def test_one_that_is_cut_short_is_refused(tmp_path):
    put(tmp_path, "model.safetensors", a=(100,))
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged or cut short: "):
        weight_files(tmp_path)


def test_an_index_that_is_none_is_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    with pytest.raises(ValueError, match=r"is damaged \(weight_map: .*; fetch the model again"):
        weight_files(tmp_path)


def test_pickles_are_found_and_not_counted(tmp_path):
    with pytest.raises(ValueError, match=r"has no file of weights$"):
        weight_files(tmp_path)
    torch.save({"a": torch.zeros(3)}, tmp_path / "pytorch_model.bin")
    assert names(tmp_path) == ["pytorch_model.bin"]
    assert num_elements(weight_files(tmp_path)) is None
