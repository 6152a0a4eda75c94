"""What an export is: files for diffusers or PEFT, and the code that loads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.policy import lora_files
from zoo.policy.weights import Lora


@dataclass(frozen=True)
class Full:
    """A network of diffusers, its weights put in."""

    network: Any
    kind = "the whole network for diffusers"
    loaded_by = "diffusers"
    tags = ()

    def write(self, folder: Path) -> None:
        """Writes its files into a folder."""
        self.network.save_pretrained(folder)

    def loading(self, folder: str) -> tuple[str, ...]:
        """How to load it from a folder, in Python."""
        name = type(self.network).__name__
        return f"from diffusers import {name}", f'network = {name}.from_pretrained("{folder}")'


@dataclass(frozen=True)
class _Lora:
    """Adapters, and the model that they are of, if it has a name."""

    tensors: Mapping[str, Tensor]
    lora: Lora
    base: str | None
    tags = ("lora",)


class DiffusersLora(_Lora):
    """As a pipeline's `load_lora_weights` has it."""

    kind = "LoRA for diffusers"
    loaded_by = "diffusers"

    def write(self, folder: Path) -> None:
        """Writes its file into a folder."""
        lora_files.write_diffusers(folder, self.tensors, self.lora)

    def loading(self, folder: str) -> tuple[str, ...]:
        """How to load it from a folder, in Python."""
        if self.base is None:
            return (
                "# network: the transformer that the run started from, a model of diffusers",
                f'network.load_lora_adapter("{folder}", prefix="transformer", '
                f'weight_name="{lora_files.DIFFUSERS}")',
            )
        return (
            "from diffusers import DiffusionPipeline",
            f'pipeline = DiffusionPipeline.from_pretrained("{self.base}")',
            f'pipeline.load_lora_weights("{folder}")',
        )


class PeftLora(_Lora):
    """As `PeftModel.from_pretrained` has it."""

    kind = "LoRA for PEFT"
    loaded_by = "peft"

    def write(self, folder: Path) -> None:
        """Writes its file into a folder."""
        lora_files.write_peft(folder, self.tensors, self.lora, base=self.base)

    def loading(self, folder: str) -> tuple[str, ...]:
        """How to load it from a folder, in Python."""
        return (
            "from peft import PeftModel  # network: the transformer that the run started from",
            f'network = PeftModel.from_pretrained(network, "{folder}")',
        )


Export = Full | DiffusersLora | PeftLora
