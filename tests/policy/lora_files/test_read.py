"""LoRA weights written for diffusers and PEFT, and read back by them in every way they have."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.exports import output
from tests.loras import ROUNDING, adapted, base
from zoo.policy import lora_files
from zoo.policy.weights import Lora

# A power of two scales B without rounding; 10 / 3 does not.
EXACT, ROUNDED = Lora(rank=8, alpha=16), Lora(rank=3, alpha=10)
BOTH = pytest.mark.parametrize("lora", [EXACT, ROUNDED], ids=["exact", "rounded"])


def pipeline(network):
    import diffusers

    rest = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3")
    tokenizers = ("tokenizer", "tokenizer_2", "tokenizer_3")
    return diffusers.StableDiffusion3Pipeline(
        network, diffusers.FlowMatchEulerDiscreteScheduler(), **dict.fromkeys((*rest, *tokenizers))
    )


FILE = lora_files.DIFFUSERS
DIFFUSERS_WAYS = {
    "a network, by folder": lambda network, folder: network.load_lora_adapter(
        folder, prefix="transformer", use_safetensors=True
    ),
    "a network, by file": lambda network, folder: network.load_lora_adapter(
        folder / FILE, prefix="transformer"
    ),
    "a network, by tensors": lambda network, folder: network.load_lora_adapter(
        load_file(folder / FILE), prefix="transformer"
    ),
    "a pipeline, by folder": lambda network, folder: pipeline(network).load_lora_weights(folder),
    "a pipeline, by file": lambda network, folder: pipeline(network).load_lora_weights(
        folder / FILE
    ),
    "a pipeline, by tensors": lambda network, folder: pipeline(network).load_lora_weights(
        load_file(folder / FILE)
    ),
}


@pytest.mark.fast_cases(4)
@BOTH
@pytest.mark.parametrize("way", DIFFUSERS_WAYS)
def test_diffusers_loads_the_same_network_in_every_way(way, lora, tmp_path):
    tensors, wanted = adapted(lora)
    lora_files.write_diffusers(tmp_path, tensors, lora)
    network = base()
    DIFFUSERS_WAYS[way](network, tmp_path)
    difference = (output(network) - wanted).abs().max().item()
    if lora is EXACT:
        assert difference == 0.0
    else:
        assert difference < ROUNDING


@BOTH
def test_peft_loads_the_same_network(lora, tmp_path):
    from peft import PeftModel

    tensors, wanted = adapted(lora)
    lora_files.write_peft(tmp_path, tensors, lora)
    assert torch.equal(output(PeftModel.from_pretrained(base(), tmp_path)), wanted)


def test_the_files_have_the_names_keys_and_types_of_the_field(tmp_path):
    tensors, _ = adapted(EXACT)
    lora_files.write_diffusers(tmp_path, tensors, EXACT)
    lora_files.write_peft(tmp_path, tensors, EXACT, base="someone/model")
    assert {path.name for path in tmp_path.iterdir()} == {
        "pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_config.json",
    }  # fmt: skip
    for name, prefix in ((FILE, "transformer"), (lora_files.PEFT, "base_model.model")):
        with safe_open(tmp_path / name, "pt") as file:
            assert file.metadata() == {"format": "pt"}
            assert set(file.keys()) == {f"{prefix}.{key}" for key in tensors}
        assert all(value.dtype == torch.float32 for value in load_file(tmp_path / name).values())
    config = json.loads((tmp_path / lora_files.PEFT_CONFIG).read_text())
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    assert config["base_model_name_or_path"] == "someone/model"
    assert "transformer_blocks.0.attn.to_q" in config["target_modules"]
    assert len(config["target_modules"]) == len(tensors) / 2


def test_what_no_such_adapter_has_is_refused(tmp_path):
    a, b = torch.zeros(2, 4), torch.zeros(3, 2)
    good = {"x.lora_A.weight": a, "x.lora_B.weight": b}
    lora = Lora(rank=2, alpha=4)
    assert lora_files.require(good, lora) == ["x"]
    assert lora_files.are_lora(good)
    assert not lora_files.are_lora(good | {"x.weight": a})
    for tensors, rank, said in (
        (good | {"x.weight": a}, 2, "'x.weight' is not a LoRA weight"),
        ({"x.lora_A.weight": a}, 2, "'x' has A of rank 2, not A and B of rank 2"),
        (good, 4, "'x' has A of rank 2 and B of rank 2, not A and B of rank 4"),
        ({}, 2, "no LoRA weights"),
    ):
        for write in (lora_files.write_diffusers, lora_files.write_peft):
            with pytest.raises(ValueError, match=said):
                write(tmp_path, tensors, Lora(rank=rank, alpha=4))
    assert not list(tmp_path.iterdir())
