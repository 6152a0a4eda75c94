"""The type of a network's weights: the base may be bfloat16 where adapters are trained over it."""

from typing import Literal

import torch
from torch import nn

from zoo.policy.weights import Lora

Dtype = Literal["float32", "bfloat16"]


def base_dtype(dtype: Dtype, lora: Lora | None) -> torch.dtype:
    """The type by its name.

    Raises:
        ValueError: the network itself would be trained in bfloat16.
    """
    if lora is None and dtype != "float32":
        raise ValueError(
            f"dtype {dtype} cannot hold the small steps of full fine-tuning; "
            "write dtype: float32, or train with lora"
        )
    named: torch.dtype = getattr(torch, dtype)
    return named


def placed(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Moves a network of diffusers to the device, in that type, without dropout."""
    # Diffusers' own `to` warns of modules to keep in float32, of which there are none.
    nn.Module.to(network, device, dtype).eval()
