"""LoRA weights written as diffusers and PEFT load them.

LoRA: Hu et al. 2021 (arXiv 2106.09685): W + alpha / rank * B A. PEFT's config says alpha and rank.
Diffusers' file can say them only in its header, which `load_lora_adapter` of a file's path and any
loading of a state dict leave out (0.42; the error is not small). So alpha / rank is multiplied into
B: without a header every loader takes the scale for 1. That is exact where alpha / rank is a power
of two, and one rounding of B elsewhere.

Adapters are float32 whatever the network is, and are written so. Over a bfloat16 network PEFT keeps
them; diffusers rounds them to bfloat16 as it loads them.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from zoo.policy.lora_files.names import require
from zoo.policy.lora_files.source import DIFFUSERS, PEFT, PEFT_CONFIG
from zoo.policy.weights import Lora


def write_diffusers(
    folder: Path, tensors: Mapping[str, Tensor], lora: Lora, *, network: str = "transformer"
) -> None:
    """For `load_lora_weights(folder)` of a pipeline whose `network` has these layers.

    Raises:
        ValueError: the tensors are not those of such adapters.
    """
    require(tensors, lora)
    scaled = {
        f"{network}.{name}": _scale(tensor, lora) if ".lora_B." in name else tensor
        for name, tensor in tensors.items()
    }
    _save(folder / DIFFUSERS, scaled)


def write_peft(
    folder: Path, tensors: Mapping[str, Tensor], lora: Lora, *, base: str | None = None
) -> None:
    """For `PeftModel.from_pretrained(network, folder)`; `base` is the network's id or path.

    Raises:
        ValueError: the tensors are not those of such adapters.
    """
    # By hand, for LoraConfig writes every option of its version, which older ones do not know.
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": require(tensors, lora),
        "task_type": None,
    }
    _save(folder / PEFT, {f"base_model.model.{name}": value for name, value in tensors.items()})
    (folder / PEFT_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _scale(b: Tensor, lora: Lora) -> Tensor:
    return (b.double() * lora.alpha / lora.rank).to(b.dtype)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    # Loaders look for this header, which says whose tensors they are.
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata={"format": "pt"})
