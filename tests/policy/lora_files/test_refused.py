"""What a run cannot start from is refused in one line, with the fix."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from tests.forbidden import forbid
from tests.loras import FOUR, LORA, adapted, by_peft, refusal, started, values
from zoo.policy import lora_files
from zoo.policy.lora_files import PEFT, PEFT_CONFIG
from zoo.policy.weights import Lora

__all__ = ["forbid"]


def test_the_configuration_is_looked_at_before_the_tensors(tmp_path):
    save_file({"base_model.model.x.hada_w1_a": torch.zeros(8, 64)}, tmp_path / PEFT)
    (tmp_path / PEFT_CONFIG).write_text('{"peft_type": "LOHA", "r": 8}')
    assert "is LOHA, not LORA" in refusal(tmp_path)


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "PEFT's use_dora, which is not supported"),
        ({"bias": "lora_only"}, "trained biases too (bias: lora_only)"),
        ({"modules_to_save": ["proj_out"]}, "PEFT's modules_to_save, which is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa, which changes the base"),
        ({"peft_type": "LOHA"}, "is LOHA, not LORA"),
        ({"some_new_option": 3}, "PEFT's some_new_option, which is not supported"),
        ({"lora_alpha": None}, "says no usable lora_alpha"),
        ({"alpha_pattern": {"(": 3}}, "'(', a regular expression that may take for ever; write"),
        ({"alpha_pattern": {"(([a-z_.0-9]+)+)+!": 1}}, "that may take for ever; write"),
        ({"alpha_pattern": {".*a.*b": 1}}, "that may take for ever; write"),
        ({"alpha_pattern": {f"{i}.*b": 1 for i in range(101)}}, "that may take for ever; write"),
        ({"alpha_pattern": {f"a{i}": 1 for i in range(6000)}}, "has 6,000 of alpha_pattern"),
        ({"alpha_pattern": [1]}, "is no LoRA's: alpha_pattern: Input should be"),
        ({"alpha_pattern": {"attn.to_q": "8"}}, "is no LoRA's: alpha_pattern.attn.to_q: Input"),
        ({"lora_alpha": "16"}, "adapter_config.json is no LoRA's: lora_alpha: Input should be"),
        ({"lora_alpha": [16]}, "is no LoRA's: lora_alpha"),
        ({"peft_type": ["LORA"]}, "is no LoRA's: peft_type"),
        ({"init_lora_weights": {"a": 1}}, "is no LoRA's: init_lora_weights"),
        ({"target_modules": [1]}, "is no LoRA's: target_modules"),
        ({"use_rslora": "no"}, "is no LoRA's: use_rslora"),
        ({"base_model_name_or_path": "x" * 2_000_000}, "cannot be read"),
    ],
)
def test_what_a_configuration_says_is_heeded_or_refused(change, said, tmp_path):
    by_peft(tmp_path)
    config = json.loads((tmp_path / PEFT_CONFIG).read_text())
    (tmp_path / PEFT_CONFIG).write_text(json.dumps(config | change))
    assert said in refusal(tmp_path)


A, B = torch.zeros(8, 64), torch.zeros(64, 8)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"lora_unet_x.lora_down.weight": A, "lora_unet_x.lora_up.weight": B},
         "'lora_unet_x', which diffusers does not read"),
        ({"transformer.x.lora_magnitude_vector": A}, "is DoRA"),
        ({"transformer.x.lora_A.weight": A, "text_encoder.x.lora_A.weight": A}, "'text_encoder.x"),
        ({"transformer.x.lora_A.weight": A}, "'x' has A of rank 8, not A and B of one rank"),
        ({"x.weight": A}, "'x.weight' is not a LoRA weight"),
        ({"x.lora_A.weight": A, "x.lora_B.weight": B, "y.alpha": A}, "'y.alpha' and no LoRA of"),
        ({"x.lora_A.weight": A[None], "x.lora_B.weight": B}, "only matrices are supported"),
        ({"x.lora_A.weight": A.long(), "x.lora_B.weight": B}, "'x.lora_A.weight' is quantised"),
        ({"x.lora_A.a.weight": A, "x.lora_B.a.weight": B, "y.lora_A.b.weight": A,
          "y.lora_B.b.weight": B}, "several adapters (a, b); save one of them alone"),
        ({"base_model.model.x.lora_A.weight": A, "base_model.model.x.lora_B.weight": B},
         "and only adapter_config.json says its alpha; put that beside it, and call it adapter_m"),
        ({"x.lora_A.weight": A, "x.lora_B.weight": B}, "another architecture: it has 'x', which"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_such_a_lora_are_refused(tensors, said, tmp_path):
    save_file(
        {
            name: value.clone(memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        },
        tmp_path / "a.safetensors",
    )
    assert said in refusal(tmp_path / "a.safetensors")


def test_another_rank_is_refused_with_what_to_write(tmp_path):
    by_peft(tmp_path)
    line = refusal(tmp_path, Lora(rank=32, alpha=64, targets=FOUR))
    assert line.endswith("has rank 8 and the recipe's has 32; write policy.lora: {rank: 8}")


def test_other_layers_are_refused_with_the_targets_to_write(tmp_path):
    by_peft(tmp_path)
    line = refusal(tmp_path, Lora(rank=8, alpha=16, targets=("attn.to_q", "attn.add_q_proj")))
    assert "it has 'transformer_blocks.0.attn.to_k'" in line
    assert "'transformer_blocks.0.attn.to_out.0', " in line
    assert "and 3 more, which the recipe does not train; it lacks" in line
    targets = line.partition("write policy.lora.targets: ")[2].strip("[]").split(", ")
    assert values(started(tmp_path, Lora(rank=8, alpha=16, targets=tuple(targets))))


def test_another_width_is_refused(tmp_path):
    tensors, _ = adapted(LORA)
    name = "transformer_blocks.1.attn.to_q.lora_A.weight"
    tensors[name] = tensors[name][:, :32]
    lora_files.write_peft(tmp_path, tensors, LORA)
    assert f"its '{name}' is of shape [8, 32], the policy's [8, 64]" in refusal(tmp_path)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    tensors, _ = adapted(LORA)
    tensors["transformer_blocks.1.attn.to_q.lora_A.weight"][0, 0] = torch.nan
    lora_files.write_peft(tmp_path, tensors, LORA)
    assert "are not finite" in refusal(tmp_path)


def test_places_without_a_lora_are_refused_with_what_they_have(tmp_path):
    assert "has nothing; name" in refusal(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert "it has notes.txt; name" in refusal(tmp_path)
    by_peft(tmp_path / "a")
    shutil.move(tmp_path / "a" / PEFT_CONFIG, tmp_path / "config.json")
    assert f"no {PEFT_CONFIG} beside its {PEFT}" in refusal(tmp_path / "a")
    (tmp_path / "a" / PEFT).write_bytes(b"cut short")
    (tmp_path / "a" / PEFT_CONFIG).write_text("{")
    assert "cannot be read" in refusal(tmp_path / "a")
    (tmp_path / "a" / PEFT).rename(tmp_path / "a" / "adapter_model.bin")
    for source in (tmp_path / "a", tmp_path / "a" / "adapter_model.bin"):
        assert "a pickle, which may run any code" in refusal(source)
    (tmp_path / "recipe.json").touch()
    assert f"is a run folder; write its weights first: zoo export {tmp_path}" in refusal(tmp_path)
    assert "is no file or folder here, and no OWNER/NAME" in refusal(tmp_path / "none")


def test_a_folder_that_may_not_be_listed_is_refused(tmp_path, forbid):
    forbid(tmp_path)
    assert refusal(tmp_path) == f"'{tmp_path}' cannot be read: Permission denied"
