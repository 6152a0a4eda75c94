"""Models, weights and tokenizers that the rewards on CLIP refuse, each in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zoo.reward.aesthetic import Aesthetic
from zoo.reward.clipscore import ClipScore
from zoo.reward.hpsv2 import HPSv2
from zoo.reward.pickscore import PickScore

CPU = torch.device("cpu")
ALL = (Aesthetic, ClipScore, HPSv2, PickScore)
# Those that load a model in transformers' layout, and those that read prompts.
IN_FOLDERS, READERS = (Aesthetic, ClipScore, PickScore), (ClipScore, HPSv2, PickScore)
EACH = pytest.mark.parametrize("cls", ALL)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return {cls: cls.write_tiny(folder / cls.__name__) for cls in ALL}


@EACH
@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu", "is no device; write"),
        ("cpu:x", "is no device; write"),
        ("cuda:99", "this machine has"),
        ("meta", "cannot be used here: .*; write"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(written, cls, device, said):
    with pytest.raises(ValueError, match=f"^run_on: '{device}'.*{said}") as told:
        cls(CPU, **written[cls], run_on=device)
    assert "\n" not in str(told.value)


def copied(options, folder: Path) -> Path:
    """The model that `options` name, to be changed."""
    return Path(shutil.copytree(options["model"], folder / "model"))


@pytest.mark.parametrize("cls", IN_FOLDERS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "is a folder without what it takes"),
        (lambda f: (f / "config.json").write_text("{"), "is a folder without .* not a valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "is a folder without what it takes"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "clip_text_model"}'),
            "is a clip_text_model, not a clip",
        ),
        (
            lambda f: (f / "model_index.json").write_text("{}"),
            "a pipeline of diffusers, not a clip",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "cannot be read"),
        (
            lambda f: (f / "model.safetensors").write_bytes(
                (f / "model.safetensors").read_bytes()[:99_999]
            ),
            "cannot be read",
        ),
    ],
)
def test_models_of_something_else_are_refused(written, tmp_path, cls, change, said):
    folder = copied(written[cls], tmp_path)
    change(folder)
    with pytest.raises(ValueError, match=f"^the .*model '.*{said}") as told:
        cls(CPU, **{**written[cls], "model": str(folder)})
    assert "\n" not in str(told.value)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("cls", IN_FOLDERS)
def test_a_model_without_some_of_its_weights_is_refused(written, tmp_path, cls):
    file = copied(written[cls], tmp_path) / "model.safetensors"
    state = load_file(file)
    del state["vision_model.encoder.layers.1.mlp.fc1.bias"]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 tensors, vision_model.*1.mlp.fc1.bias first"):
        cls(CPU, **{**written[cls], "model": str(file.parent)})


@pytest.mark.parametrize("cls", IN_FOLDERS)
def test_weights_that_do_not_fit_their_config_are_refused(written, tmp_path, cls):
    folder = copied(written[cls], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["image_size"] = 40
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"^the weights of the model .* cannot be read: ") as said:
        cls(CPU, **{**written[cls], "model": str(folder)})
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("cls", READERS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "b", "<|startoftext|>", "<|endoftext|>"], "has 4 tokens and the model knows 514"),
        ([*map(str, range(512)), "<|endoftext|>", "<|startoftext|>"], "with token 512 and .* 513"),
        (None, "has no vocabulary|is a folder without"),
    ],
)
def test_a_tokenizer_of_another_vocabulary_is_refused(written, tmp_path, cls, words, said):
    from transformers import CLIPTokenizer

    if words is not None:
        vocabulary = {word: i for i, word in enumerate(words)}
        CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"^the tokenizer .*({said}).*; name ") as told:
        cls(CPU, **{**written[cls], "tokenizer": str(tmp_path)})
    assert "\n" not in str(told.value)


@EACH
@pytest.mark.parametrize("source", ["somewhere/else", "./no/such/file.pt"])
def test_what_cannot_be_had_is_said_in_a_line(written, monkeypatch, cls, source):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for option in sorted({*written[cls], *({"tokenizer"} if cls in READERS else ())}):
        with pytest.raises(
            ValueError, match=f"^the {option} '{source}' .* the [hH]ub.*; .*$"
        ) as said:
            cls(CPU, **{**written[cls], option: source})
        assert "\n" not in str(said.value)


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("cls", [Aesthetic, HPSv2])
@pytest.mark.parametrize("what", [Harmful(), [1, 2], "text", "half"])
def test_a_file_that_holds_more_than_tensors_is_refused_and_not_run(
    written, tmp_path, monkeypatch, cls, what
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pth"
    if what == "half":
        file.write_bytes(Path(written[cls]["weights"]).read_bytes()[:9999])
    elif what == "text":
        file.write_text("<html>404</html>")
    else:
        torch.save(what, file)
    with pytest.raises(ValueError, match=r"^the weights .*tensors.*$") as raised:
        cls(CPU, **{**written[cls], "weights": str(file)})
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "harm").exists()


def test_openais_clips_are_no_pickscore(written):
    with pytest.raises(ValueError, match=r"^the model .* activation is quick_gelu.*PickScore_v1"):
        PickScore(CPU, **{**written[PickScore], "model": written[ClipScore]["model"]})


def drop(name: str):
    return lambda saved: saved["state_dict"].pop(name)


def put(name: str, value: torch.Tensor):
    return lambda saved: saved["state_dict"].update({name: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("visual.conv1.weight"), "visual.conv1.weight"),
        (drop("ln_final.bias"), "final_layer_norm.bias"),
        (put("text_decoder.bias", torch.ones(1)), "text_decoder.bias is unknown"),
        (put("ln_final.bias", torch.ones(3)), r"size mismatch .*final_layer_norm.bias"),
        (put("visual.conv1.weight", torch.ones(1024, 3, 14, 14)), "another size: widths of 1024"),
        (put("visual.conv1.weight", torch.ones(3)), r"its patches are \[3\]"),
    ],
)
def test_weights_that_are_not_hpsv2s_are_refused(written, tmp_path, change, said):
    saved = torch.load(written[HPSv2]["weights"], weights_only=True)
    change(saved)
    torch.save(saved, tmp_path / "changed.pt")
    with pytest.raises(
        ValueError, match=f"^the weights .* open_clip's .*{said}.*; .*HPSv2"
    ) as told:
        HPSv2(CPU, **{**written[HPSv2], "weights": str(tmp_path / "changed.pt")})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("cls", [Aesthetic, HPSv2])
def test_a_folder_may_be_named_for_its_weights(written, tmp_path, cls):
    folder = str(Path(written[cls]["weights"]).parent)
    cls(CPU, **{**written[cls], "weights": folder})
    with pytest.raises(ValueError, match=r"^the weights .* are a folder without .*; name the file"):
        cls(CPU, **{**written[cls], "weights": str(tmp_path)})
