"""LoRA weights as the files of the field: what a run writes, and what a run can start from."""

from zoo.policy.lora_files.names import are_lora, require
from zoo.policy.lora_files.read import LoraFile
from zoo.policy.lora_files.source import (
    DIFFUSERS,
    PEFT,
    PEFT_CONFIG,
    LoraError,
    is_local,
    require_hub_place,
)
from zoo.policy.lora_files.start import open_lora, require_fit, require_rank, settings, start_from
from zoo.policy.lora_files.write import write_diffusers, write_peft

__all__ = [
    "DIFFUSERS",
    "PEFT",
    "PEFT_CONFIG",
    "LoraError",
    "LoraFile",
    "are_lora",
    "is_local",
    "open_lora",
    "require",
    "require_fit",
    "require_hub_place",
    "require_rank",
    "settings",
    "start_from",
    "write_diffusers",
    "write_peft",
]
