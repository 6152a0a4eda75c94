"""Models, weights and tokenizers that the rewards on CLIP refuse, each in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import errors
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


def copied(options, folder: Path) -> Path:
    """The model that `options` name, to be changed."""
    return Path(shutil.copytree(options["model"], folder / "model"))


@pytest.mark.parametrize("cls", IN_FOLDERS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "is a folder without config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json that cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "of the kind None, not a CLIP"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "clip_text_model"}'),
            "of the kind 'clip_text_model', not a CLIP with both towers",
        ),
        (
            lambda f: (f / "model_index.json").write_text("{}"),
            "is a diffusers pipeline, not a CLIP",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "cannot be had: OSError"),
        (
            lambda f: (f / "model.safetensors").write_bytes(
                (f / "model.safetensors").read_bytes()[:99_999]
            ),
            "cannot be had: SafetensorError",
        ),
    ],
)
def test_models_of_something_else_are_refused(written, tmp_path, cls, change, said):
    folder = copied(written[cls], tmp_path)
    change(folder)
    with pytest.raises(ValueError, match=f"^the model '.*{said}.*; .*openai|^.*{said}.*v1") as told:
        cls(CPU, **{**written[cls], "model": str(folder)})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("cls", IN_FOLDERS)
def test_a_model_without_some_of_its_weights_is_refused(written, tmp_path, cls):
    file = copied(written[cls], tmp_path) / "model.safetensors"
    state = load_file(file)
    del state["vision_model.encoder.layers.1.mlp.fc1.bias"]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"no 'vision_model.*1.mlp.fc1.bias' .1 missing"):
        cls(CPU, **{**written[cls], "model": str(file.parent)})


@pytest.mark.parametrize("cls", IN_FOLDERS)
def test_weights_that_do_not_fit_their_config_are_refused(written, tmp_path, cls):
    folder = copied(written[cls], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["image_size"] = 35
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"^the model .* cannot be had: ") as said:
        cls(CPU, **{**written[cls], "model": str(folder)})
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("cls", READERS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "b", "<|startoftext|>", "<|endoftext|>"], "has 4 tokens, and the model is of 514"),
        ([*map(str, range(512)), "<|endoftext|>", "<|startoftext|>"], "with token 512, .* 513"),
        (None, "has no vocabulary|cannot be had"),
    ],
)
def test_a_tokenizer_of_another_vocabulary_is_refused(written, tmp_path, cls, words, said):
    from transformers import CLIPTokenizer

    if words is not None:
        vocabulary = {word: i for i, word in enumerate(words)}
        CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"^the tokenizer '.*({said}).*; .*CLIP") as told:
        cls(CPU, **{**written[cls], "tokenizer": str(tmp_path)})
    assert "\n" not in str(told.value)


@EACH
@pytest.mark.parametrize("source", ["somewhere/else", "./no/such/file.pt"])
def test_what_cannot_be_had_is_said_in_a_line(written, monkeypatch, cls, source):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for option in sorted({*written[cls], *({"tokenizer"} if cls in READERS else ())}):
        with pytest.raises(ValueError, match=f"^the {option} '{source}' .* the hub.*; .*$") as said:
            cls(CPU, **{**written[cls], option: source})
        assert "\n" not in str(said.value)


@EACH
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.GatedRepoError, "is gated on the hub: accept its terms at .*/else and run"),
        (errors.RepositoryNotFoundError, "neither here nor on the hub"),
        (errors.RemoteEntryNotFoundError, "the repository of the hub has no such file"),
        (errors.LocalEntryNotFoundError, "not on this machine and the hub cannot be reached"),
    ],
)
def test_why_the_hub_does_not_give_it_is_said(written, monkeypatch, cls, error, said):
    def refused(*asked):
        # Their constructors want a whole response.
        raise error.__new__(error)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refused)
    option = "weights" if cls is HPSv2 else "model"
    with pytest.raises(ValueError, match=f"^the {option} 'somewhere/else' cannot be had.*{said}"):
        cls(CPU, **{**written[cls], option: "somewhere/else"})


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
