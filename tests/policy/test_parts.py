"""Whether a model can be loaded is seen by its files, and how large it is: no weights are read."""

import json
import shutil

import pytest
import torch
from diffusers import SD3Transformer2DModel

from tests.runs import RECIPES, written
from zoo.plan.live_bytes import LiveBytes
from zoo.policy.parts import num_numbers
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pretrained import Pretrained

META = torch.device("meta")


@pytest.fixture
def copy(sd3, tmp_path):
    """A copy of the tiny pipeline that a test may break, and the options of its policy."""
    folder = shutil.copytree(sd3["pretrained"], tmp_path / "medium")
    return folder, {"without": (), **sd3, "pretrained": str(folder)}


def refusal(options):
    with pytest.raises(ValueError, match=r"\w") as raised:
        Diffusers.check_start(options)
    line = str(raised.value)
    assert "\n" not in line
    return line


@pytest.fixture
def no_weights(monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("weights were read")

    monkeypatch.setattr("zoo.storage.tensor_file.TensorFile.__getitem__", refuse)
    monkeypatch.setattr("diffusers.ModelMixin.from_pretrained", refuse)
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", refuse)


def test_a_whole_model_can_start(copy, dev, no_weights):
    Diffusers.check_start(copy[1])
    Diffusers.check_start({"without": (), **dev})
    # What is on the hub may be fetched.
    Diffusers.check_start({**copy[1], "pretrained": "someone/model"})


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "text_encoder_3"])
def test_a_part_without_weights_is_named(part, copy, no_weights):
    folder, options = copy
    (weights,) = (folder / part).glob("*.safetensors")
    weights.unlink()
    line = refusal(options)
    assert line.startswith(f"the model '{folder}': {folder / part} has no file of weights; fetch ")
    assert line.endswith("policy.variant")


def test_one_part_must_have_the_variant(copy, no_weights):
    folder, options = copy
    options["variant"] = "fp16"
    assert "has no file of the variant 'fp16'; fetch it again" in refusal(options)
    (weights,) = (folder / "transformer").glob("*.safetensors")
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    # The other parts' own will do, as they do for diffusers' pipelines.
    Diffusers.check_start(options)


def test_a_shard_that_is_missing_is_named(copy, no_weights):
    folder, options = copy
    (weights,) = (folder / "text_encoder_3").glob("*.safetensors")
    weights.rename(weights.with_name("model-00001-of-00002.safetensors"))
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = weights.with_name("model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": names}))
    assert "lacks model-00002-of-00002.safetensors, of 2 files" in refusal(options)


@pytest.mark.parametrize("how", ["folder", "index"])
def test_without_t5_the_fix_is_to_do_without(how, copy, no_weights):
    folder, options = copy
    shutil.rmtree(folder / "text_encoder_3")
    if how == "index":
        index = json.loads((folder / "model_index.json").read_text())
        index["text_encoder_3"] = [None, None]
        (folder / "model_index.json").write_text(json.dumps(index))
    said = {
        "folder": "has no folder 'text_encoder_3'; ",
        "index": "has no text_encoder_3, of which",
    }
    line = refusal(options)
    assert said[how] in line
    assert "policy.without" in line
    Diffusers.check_start({**options, "without": ("text_encoder_3",)})


def test_other_folders_are_refused(copy, dev, no_weights, tmp_path):
    folder, options = copy
    shutil.rmtree(folder / "tokenizer")
    assert f"the model '{folder}' has no folder 'tokenizer'" in refusal(options)
    other = {"pretrained": dev["pretrained"], "pipeline": "StableDiffusion3Pipeline"}
    assert refusal({**options, **other}) == (
        f"the model '{dev['pretrained']}', a FluxPipeline, has no text_encoder_3, tokenizer_3, of "
        "which a StableDiffusion3Pipeline is made; name another by policy.pretrained or "
        "policy.pipeline, or do without: policy.without: [text_encoder_3, tokenizer_3]"
    )
    for gone in (str(tmp_path / "gone"), "./gone", "gone"):
        line = refusal({**options, "pretrained": gone})
        assert line.startswith(f"the model '{gone}' is no folder")


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_command_says_no(command, copy, monkeypatch, tmp_path, capsys):
    from zoo.cli import main

    folder, options = copy
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    policy = f"policy={{name: diffusers, {written(options)}}}"
    chosen = ["-s", policy, "-s", "rewards=[{name: jpeg_compressibility}]", "-s", "eval=null"]
    arguments = ["zoo", command, str(RECIPES["nft"]), *chosen, "-s", f"output_dir={tmp_path}/runs"]
    monkeypatch.setattr("sys.argv", arguments)
    assert main._run() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ": policy: 'diffusers' refuses its options: the model " in line
    assert "vae has no file of weights" in line
    assert not (tmp_path / "runs").exists()


ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


@pytest.mark.slow
def test_encoders_are_as_large_by_their_files_as_by_their_configurations(
    sd3, no_weights, monkeypatch
):
    files = Pretrained(sd3["pretrained"])
    by_files = [num_numbers(files, part) for part in ENCODERS]
    whole = Diffusers(META, **{**sd3, "dtype": "bfloat16"})
    without = Diffusers(META, **{**sd3, "without": ("text_encoder_3", "tokenizer_3")})
    assert whole.encoder_bytes() == 2 * sum(by_files)
    assert without.encoder_bytes() == 4 * sum(by_files[:2])
    # As of a model that is on the hub.
    monkeypatch.setattr("zoo.policy.parts.is_here", lambda files: False)
    assert [num_numbers(files, part) for part in ENCODERS] == by_files
    with pytest.raises(ValueError, match="has no usable 'transformer'"):
        num_numbers(files, "transformer")


@pytest.mark.slow
def test_on_the_meta_device_parts_are_made_in_their_own_type(sd3, no_weights):
    policy = Diffusers(META, **{**sd3, "dtype": "bfloat16"})
    assert policy.seam.real.vae.dtype == torch.bfloat16
    assert policy.weights.network.dtype == torch.bfloat16
    with LiveBytes() as live:
        network = Pretrained(sd3["pretrained"]).empty(
            SD3Transformer2DModel, "transformer", torch.bfloat16
        )
        assert network.dtype == torch.bfloat16
        # Not made in float32 first: then twice as much would be there for a moment.
        assert live.peak < 1.5 * live.now
