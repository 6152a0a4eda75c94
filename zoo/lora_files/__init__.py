"""LoRA weights as the files of the field: what a run writes, and what a run can start from."""

from zoo.lora_files.names import are_lora, require
from zoo.lora_files.read import LoraFile
from zoo.lora_files.source import DIFFUSERS, PEFT, PEFT_CONFIG, LoraError, is_local
from zoo.lora_files.start import opened, require_fit, require_rank, settings, start_from
from zoo.lora_files.write import write_diffusers, write_peft

__all__ = [
    "DIFFUSERS",
    "PEFT",
    "PEFT_CONFIG",
    "LoraError",
    "LoraFile",
    "are_lora",
    "is_local",
    "opened",
    "require",
    "require_fit",
    "require_rank",
    "settings",
    "start_from",
    "write_diffusers",
    "write_peft",
]
