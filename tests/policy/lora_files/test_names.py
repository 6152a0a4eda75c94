"""One LoRA by the names that programs give its tensors: the network is the same by all of them."""

import json

import pytest
import torch
from diffusers import SD3Transformer2DModel
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from safetensors.torch import save_file

from tests.exports import output
from tests.loras import FOUR, ROUNDING, base, by_peft, started, values
from tests.single_files import published
from zoo.policy import lora_files
from zoo.policy.lora_files import PEFT, PEFT_CONFIG
from zoo.policy.weights import Lora

ALPHA = 6.0
RANK8 = Lora(rank=8, alpha=16, targets=FOUR)


@pytest.fixture(scope="module")
def adapters():
    """Random ones of the digits network by our names, with nothing to multiply them with."""
    draw = torch.Generator().manual_seed(4)
    return {
        name: 0.1 * torch.randn(tensor.shape, generator=draw)
        for name, tensor in values(started_anew()).items()
    }


def started_anew():
    from tests.loras import allocate

    return allocate(RANK8)


def save(tensors, folder):
    path = folder / "a.safetensors"
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, path)
    return str(path)


def down_up(name):
    return name.replace("lora_A", "lora_down").replace("lora_B", "lora_up")


def flattened(prefix):
    def rename(name):
        layer, _, part = name.rpartition(".lora_")
        return f"{prefix}{layer.replace('.', '_')}.lora_{part}"

    return rename


SPELLINGS = {
    "ours": str,
    "diffusers' pipelines": "transformer.{}".format,
    "comfyui": "diffusion_model.{}".format,
    "a checkpoint's": "model.diffusion_model.{}".format,
    "unet": "unet.{}".format,
    "an adapter's name": lambda name: f"transformer.{name}".replace(".weight", ".default.weight"),
    "another's": lambda name: name.replace(".weight", ".default_0.weight"),
    "down and up": lambda name: f"transformer.{down_up(name)}",
    "kohya's": lambda name: flattened("lora_unet_")(down_up(name)),
    "onetrainer's": lambda name: flattened("lora_transformer_")(down_up(name)),
}


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_same_network_comes_of_every_spelling(spelling, alpha, adapters, tmp_path):
    rename = SPELLINGS[spelling]
    tensors = {rename(name): value for name, value in adapters.items()}
    if alpha is not None:
        layers = {name.rpartition(".lora_")[0] for name in tensors}
        tensors |= {f"{layer}.alpha": torch.tensor(alpha) for layer in layers}
    live = values(started(save(tensors, tmp_path), RANK8))
    scale = 1.0 if alpha is None else alpha / RANK8.rank
    for name, value in adapters.items():
        wanted = value * scale * RANK8.rank / RANK8.alpha if ".lora_B." in name else value
        torch.testing.assert_close(live[name], wanted, rtol=1e-6, atol=0)


def test_peft_s_own_file_may_name_its_adapter_too(tmp_path):
    network = by_peft(tmp_path)
    wanted = output(network)
    tensors = {
        name.replace(".weight", ".default.weight"): value
        for name, value in network.state_dict().items()
        if ".lora_" in name and ".default." in name
    }
    tensors = {name.replace(".default.default.", ".default."): t for name, t in tensors.items()}
    save_file({name: value.clone() for name, value in tensors.items()}, tmp_path / PEFT)
    torch.testing.assert_close(output(started(tmp_path)), wanted, rtol=0, atol=ROUNDING)


JOINT = (
    "x_block.attn.qkv", "x_block.attn.proj", "x_block.mlp.fc1", "x_block.mlp.fc2",
    "x_block.adaLN_modulation.1", "context_block.attn.qkv", "context_block.attn.proj",
    "context_block.mlp.fc1", "context_block.mlp.fc2", "context_block.adaLN_modulation.1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("stem", "down", "up"),
    [
        ("lora_unet_joint_blocks_{}_{}", "lora_down", "lora_up"),
        ("diffusion_model.joint_blocks.{}.{}", "lora_A", "lora_B"),
        ("joint_blocks.{}.{}", "lora_A", "lora_B"),
    ],
)
def test_sd3_s_published_layers_are_those_that_diffusers_makes_of_them(stem, down, up, tmp_path):
    network, draw = base(), torch.Generator().manual_seed(5)
    whole, tensors = published(network), {}
    for i in range(network.config.num_layers):
        for layer in JOINT:
            name = f"joint_blocks.{i}.{layer}.weight"
            if name not in whole:
                continue
            flat = layer.replace(".", "_") if stem.startswith("lora_unet") else layer
            key, rank = stem.format(i, flat), 2 + i
            rows, columns = whole[name].shape
            a = torch.randn(rank, columns, generator=draw)
            b = 0.03 * torch.randn(rows, rank, generator=draw)
            tensors |= {f"{key}.{down}.weight": a, f"{key}.{up}.weight": b}
            tensors[f"{key}.alpha"] = torch.tensor(1.0)
            whole[name] += b @ a / rank
    theirs = SD3Transformer2DModel.from_config(network.config).eval()
    theirs.load_state_dict(convert_sd3_transformer_checkpoint_to_diffusers(whole))
    wanted = output(theirs)
    assert (wanted - output(network)).abs().max() > 0.01
    source = save(tensors, tmp_path)
    found = lora_files.settings(source, network)
    assert found["rank"] == 3
    lora = Lora(rank=3, alpha=3, targets=tuple(found["targets"]))
    torch.testing.assert_close(output(started(source, lora)), wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("alpha", [16, 40])
def test_layers_with_ranks_and_alphas_of_their_own_are_read(alpha, tmp_path):
    changes = {
        "rank_pattern": {"0.attn.to_k": 2, "attn.to_v": 5},
        "alpha_pattern": {"attn.to_q": 3, "0.attn.to_k": 7},
    }
    network = by_peft(tmp_path, **changes)
    wanted = output(network)
    assert json.loads((tmp_path / PEFT_CONFIG).read_text())["rank_pattern"]
    found = lora_files.settings(str(tmp_path))
    assert found["rank"] == 8
    weights = started(tmp_path, Lora(rank=8, alpha=alpha, targets=FOUR))
    torch.testing.assert_close(output(weights), wanted, rtol=0, atol=ROUNDING)
    # What such a layer has not starts as a new LoRA does, so that all of the rank can learn.
    live = values(weights)
    a, b = (live[f"transformer_blocks.0.attn.to_k.lora_{part}.weight"] for part in "AB")
    assert bool((a[2:] != 0).all())
    assert bool((b[:, 2:] == 0).all())
