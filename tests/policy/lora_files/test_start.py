"""Starting from a LoRA: the network is the one that the file's own library makes of it."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.exports import output
from tests.loras import (
    COPIES,
    FOUR,
    LORA,
    ROUNDING,
    adapted,
    base,
    by_peft,
    said_by,
    started,
    values,
)
from zoo.policy import lora_files
from zoo.policy.lora_files import DIFFUSERS, PEFT
from zoo.policy.weights import Lora
from zoo.rollout import Weights


@pytest.mark.parametrize("named", ["checkpoint-30", "checkpoint-30/lora"])
def test_a_published_checkpoint_is_started_from(named, tmp_path):
    network = by_peft(tmp_path / "checkpoint-30" / "lora")
    assert (tmp_path / "checkpoint-30" / "lora" / "old" / PEFT).is_file()
    weights = started(tmp_path / named, LORA, *COPIES)
    for which in (Weights.LIVE, *COPIES):
        assert torch.equal(said_by(weights, which), output(network))
    assert torch.equal(said_by(weights, Weights.REFERENCE), output(base()))


def test_a_default_adapter_in_a_folder_of_its_own_is_found(tmp_path):
    network = by_peft(tmp_path / "default")
    assert torch.equal(output(started(tmp_path)), output(network))


@pytest.mark.slow
def test_a_reference_that_moves_starts_at_live(tmp_path):
    network = by_peft(tmp_path)
    weights = started(tmp_path, LORA, Weights.REFERENCE)
    assert torch.equal(said_by(weights, Weights.REFERENCE), output(network))


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("alpha", [1, 7, 16, 64])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rslora": True},
        {"alpha_pattern": {"attn.to_q": 3, r".*0\.attn\.to_v": 40}},
        {"r": 3, "rank_pattern": {"to_q": 8, "to_k": 8, "to_v": 8, "to_out.0": 8}},
        {"lora_dropout": 0.0, "init_lora_weights": "gaussian"},
    ],
    ids=["plain", "rank-stabilised", "alphas by layer", "ranks by layer, all equal", "harmless"],
)
def test_the_scale_of_the_file_is_kept_whatever_the_recipe_s_alpha(changes, alpha, tmp_path):
    network = by_peft(tmp_path, **changes)
    weights = started(tmp_path, Lora(rank=8, alpha=alpha, targets=FOUR))
    torch.testing.assert_close(output(weights), output(network), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("write", [lora_files.write_peft, lora_files.write_diffusers])
@pytest.mark.parametrize("scale", [0.05, 300.0])
def test_what_was_exported_is_started_from_bit_for_bit(write, scale, tmp_path):
    tensors, _ = adapted(LORA, scale)
    write(tmp_path, tensors, LORA)
    live = values(started(tmp_path))
    assert live.keys() == tensors.keys()
    assert all(torch.equal(live[name], tensors[name]) for name in tensors)


def test_a_scale_that_is_no_power_of_two_costs_two_roundings_of_b_through_diffusers(tmp_path):
    lora = Lora(rank=3, alpha=10)
    tensors, _ = adapted(lora)
    lora_files.write_diffusers(tmp_path, tensors, lora)
    live = values(started(tmp_path, lora))
    for name, value in live.items():
        torch.testing.assert_close(value, tensors[name], rtol=2**-22, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_float32_as_it_is(dtype, tmp_path):
    tensors, _ = adapted(LORA)
    half = {name: value.to(dtype) for name, value in tensors.items()}
    lora_files.write_peft(tmp_path, half, LORA)
    for name, value in values(started(tmp_path)).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, half[name].float())


def by_diffusers(folder, alpha, *, pipeline):
    """A LoRA as diffusers saves it: the pipeline with a prefix, the network without."""
    from diffusers import StableDiffusion3Pipeline
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    network = base()
    network.add_adapter(LoraConfig(r=8, lora_alpha=alpha, target_modules=list(FOUR)))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=draw))
    if pipeline:
        StableDiffusion3Pipeline.save_lora_weights(
            folder,
            transformer_lora_layers=get_peft_model_state_dict(network),
            **_collate_lora_metadata({"transformer": network}),
        )
    else:
        network.save_lora_adapter(folder)
    return network


@pytest.mark.parametrize("pipeline", [True, False])
def test_the_alpha_in_the_header_of_diffusers_file_counts(pipeline, tmp_path):
    network = by_diffusers(tmp_path, 40, pipeline=pipeline)
    for source in (tmp_path, tmp_path / DIFFUSERS):
        torch.testing.assert_close(output(started(source)), output(network), rtol=0, atol=ROUNDING)
    found = lora_files.settings(str(tmp_path))
    assert (found["rank"], found["alpha"], set(found["targets"])) == (8, 40, set(FOUR))


@pytest.mark.parametrize("alpha", [None, 4.0])
def test_without_a_header_alpha_is_a_tensor_or_the_rank(alpha, tmp_path):
    network = by_diffusers(tmp_path, 8 if alpha is None else alpha, pipeline=True)
    tensors = load_file(tmp_path / DIFFUSERS)
    if alpha is not None:
        layers = {name.rpartition(".lora_")[0] for name in tensors}
        tensors |= {f"{layer}.alpha": torch.tensor(alpha) for layer in layers}
    other = tmp_path / "mine.safetensors"
    save_file(tensors, other)
    torch.testing.assert_close(output(started(other)), output(network), rtol=0, atol=ROUNDING)


def test_settings_are_those_that_make_the_same_layers(tmp_path):
    by_peft(tmp_path / "peft")
    found = lora_files.settings(str(tmp_path / "peft"))
    assert (found["rank"], found["alpha"]) == (8, 16)
    assert set(found["targets"]) == set(FOUR)
    short = lora_files.settings(str(tmp_path / "peft"), base())
    assert set(short["targets"]) == {"to_q", "to_k", "to_v", "to_out.0"}
    tensors, said = adapted(Lora(rank=8, alpha=4, targets=("1.attn.to_q", "attn.add_q_proj")))
    lora_files.write_diffusers(tmp_path, tensors, Lora(rank=8, alpha=4))
    whole = lora_files.settings(str(tmp_path))
    assert whole["targets"] == sorted({name.rpartition(".lora_")[0] for name in tensors})
    some = lora_files.settings(str(tmp_path), base())
    assert some["targets"] == ["1.attn.to_q", "add_q_proj"]
    for settings in (whole, some):
        lora = Lora(**settings | {"targets": tuple(settings["targets"])})
        torch.testing.assert_close(output(started(tmp_path, lora)), said, rtol=0, atol=ROUNDING)
