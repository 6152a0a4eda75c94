"""Where published models are found: single files, variants of files, what a folder lacks."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from tests.single_files import published
from zoo.policy.pipeline.policy import Diffusers

CPU = torch.device("cpu")
NETWORK = Path("transformer", "diffusion_pytorch_model.safetensors")


def refusal(options, **changes):
    with pytest.raises(ValueError, match=r"\w") as raised:
        Diffusers(CPU, **{**options, **changes})
    line = str(raised.value)
    assert "\n" not in line
    return line


def require_network(policy, tensors):
    state = policy.weights.network.state_dict()
    names = {name: name.replace(".base_layer", "") for name in state}
    assert set(names.values()) == tensors.keys()
    assert all(torch.equal(state[name], tensors[names[name]]) for name in state)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_sd3_s_single_file_is_loaded_as_its_folder(prefix, sd3, tmp_path):
    whole = Diffusers(CPU, **sd3)
    tensors = published(whole.weights.network, prefix)
    # As in published files, which may have the autoencoder too.
    save_file({**tensors, "first_stage_model.x": torch.zeros(1)}, tmp_path / "m.safetensors")
    parts = {"pretrained": str(tmp_path / "m.safetensors"), "parts": sd3["pretrained"]}
    require_network(Diffusers(CPU, **{**sd3, **parts}), whole.weights.network.state_dict())
    meta = Diffusers(torch.device("meta"), **{**sd3, **parts})
    assert all(p.is_meta for p in meta.weights.network.parameters())


def test_flux_s_single_file_may_have_diffusers_names(dev, tmp_path):
    whole = load_file(Path(dev["pretrained"]) / NETWORK)
    changed = {name: tensor + 1 for name, tensor in whole.items()}
    save_file(changed, tmp_path / "m.safetensors")
    parts = {"pretrained": str(tmp_path / "m.safetensors"), "parts": dev["pretrained"]}
    require_network(Diffusers(CPU, **{**dev, **parts}), changed)


@pytest.mark.slow
def test_the_pipeline_of_a_file_is_the_one_that_diffusers_takes_it_for(sd3, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "diffusers.loaders.single_file_utils.fetch_diffusers_config",
        lambda checkpoint: (
            asked.append(checkpoint["pos_embed"].shape),
            {"pretrained_model_name_or_path": sd3["pretrained"]},
        )[1],
    )
    tensors = published(Diffusers(CPU, **sd3).weights.network)
    save_file(tensors, tmp_path / "m.safetensors")
    Diffusers(CPU, **{**sd3, "pretrained": str(tmp_path / "m.safetensors")})
    assert set(asked) == {tensors["pos_embed"].shape}


def test_a_file_that_is_not_such_a_network_is_refused(sd3, dev, tmp_path):
    file = tmp_path / "m.safetensors"
    where = {"pretrained": str(file), "parts": sd3["pretrained"]}
    assert f"'{file}' is no file here; name one" in refusal(sd3, **where)
    assert "leave parts out" in refusal(sd3, parts="x")
    tensors = published(Diffusers(CPU, **sd3).weights.network)
    save_file({name: t for name, t in tensors.items() if "fc1" not in name}, file)
    line = refusal(sd3, **where)
    assert f"'{file}' has no usable network for '{sd3['pretrained']}': KeyError" in line
    assert line.endswith("name the pipeline that it is of: policy.parts")
    whole = load_file(Path(dev["pretrained"]) / NETWORK)
    save_file({name: t for name, t in whole.items() if name != "proj_out.bias"}, file)
    assert "has no usable network" in refusal(dev, pretrained=str(file), parts=dev["pretrained"])
    file.write_bytes(b"cut short")
    assert f"'{file}' cannot be read" in refusal(sd3, pretrained=str(file))


@pytest.mark.slow
@pytest.mark.parametrize("own", ["sd3", "dev"])
def test_a_variant_is_that_of_the_files(own, request, tmp_path):
    options = request.getfixturevalue(own)
    pipeline = DiffusionPipeline.from_pretrained(options["pretrained"])
    folder = {"pretrained": str(tmp_path / "half")}
    pipeline.to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    half = load_file(tmp_path / "half" / NETWORK.with_suffix(".fp16.safetensors"))
    policy = Diffusers(CPU, **{**options, **folder, "variant": "fp16"})
    require_network(policy, {name: tensor.float() for name, tensor in half.items()})
    assert "has no file of weights; it has" in refusal(options, **folder)
    assert "has no file of the variant 'fp16'" in refusal(options, variant="fp16")


@pytest.mark.parametrize("gone", ["folder", "index"])
def test_a_model_without_t5_suggests_to_do_without(gone, sd3, tmp_path):
    folder = shutil.copytree(sd3["pretrained"], tmp_path / "model")
    if gone == "folder":
        shutil.rmtree(folder / "text_encoder_3")
    else:
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(
            json.dumps({**index, "text_encoder_3": [None, None]})
        )
    here = {"pretrained": str(folder)}
    assert "policy.without" in refusal(sd3, **here)
    Diffusers(CPU, **{**sd3, **here, "without": ("text_encoder_3", "tokenizer_3")})


def test_a_network_alone_is_refused_with_what_to_do(sd3):
    folder = f"{sd3['pretrained']}/transformer"
    assert "is a network alone" in (line := refusal(sd3, pretrained=folder))
    assert line.endswith("zoo export RUN_DIR --out DIR")
