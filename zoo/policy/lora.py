"""LoRA (Hu et al. 2021, arXiv 2106.09685) on a network: its options, and several adapters over it.

PEFT's layers do the arithmetic, over a base in half precision those of `lora_linear.py`; which of
their adapters is active is switched by `weights.py`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch import nn

from zoo import seeds
from zoo.errors import MisfitError, closest
from zoo.policy.lora_casts import Casts
from zoo.storage.place import Place

ATTENTION = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
)
"""The eight projections of diffusers' transformers of two streams, images' and texts'.

The last block of SD3's has no `to_add_out`: its text stream ends there.
"""

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)

_SHOWN = 20
"""Names of layers in an error."""

Init = Literal["gaussian", "kaiming"]


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on the linear layers whose names end in one of `targets`.

    With no targets, the model family's own. B starts at zero and A as `init` says: gaussian with
    deviation 1 / rank, as published, or kaiming's uniform one, which is PEFT's own default.

    `start` is a LoRA to go on from instead: a folder of PEFT's or diffusers' or a `.safetensors`
    file, also with the names of kohya, ComfyUI, BFL or XLabs, here or on the Hub
    (`OWNER/NAME[/FOLDER][@REVISION]`). It must be of the same layers and rank, the largest where
    layers have several; alpha may differ. A reference that does not move stays the model without
    any LoRA.
    """

    rank: Annotated[int, Ge(1)] = 32
    alpha: Annotated[int, Ge(1)] = 64
    targets: tuple[str, ...] = ()
    init: Init = "gaussian"
    start: Place | None = None


def inject(
    network: nn.Module, lora: Lora, targets: Sequence[str], adapters: Sequence[str], *, seed: int
) -> dict[str, Any]:
    """Freezes a network and gives its layers these adapters; PEFT's layers, by name.

    Raises:
        MisfitError: no layer of the network is a target.
    """
    from peft import LoraConfig, LoraModel
    from peft.tuners.lora import LoraLayer

    from zoo.policy.lora_linear import half_precision_linear

    suffixes = tuple(f".{target}" for target in targets)
    # A list of layers may be named as a layer is elsewhere: `attn.to_out`.
    layers = [
        name
        for name, module in network.named_modules()
        if f".{name}".endswith(suffixes) and not isinstance(module, _CONTAINERS)
    ]
    if not layers:
        ends = _linear_layers(network)
        guess = closest(targets[0], ends) if targets else ""
        raise MisfitError(
            ("policy", "lora", "targets"),
            f"no layer of the network is named like {' or '.join(targets)}{guess or ';'} it has "
            f"{', '.join(ends[:_SHOWN])}{' and others' if len(ends) > _SHOWN else ''}",
        )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        init_lora_weights=True if lora.init == "kaiming" else lora.init,
        target_modules=layers,
    )
    # PEFT's way for layers of one's own; names and parameters stay PEFT's.
    config._register_custom_module({nn.Linear: half_precision_linear})
    network.requires_grad_(False)
    first, *others = adapters
    with seeds.borrowed(seed, "lora"):
        tuner = LoraModel(network, config, first)
        for adapter in others:
            tuner.peft_config[adapter] = config
            tuner.inject_adapter(network, adapter)
    return {name: m for name, m in network.named_modules() if isinstance(m, LoraLayer)}


def casts_of(layers: Iterable[Any]) -> Casts:
    """Of those of PEFT's layers that are ours."""
    from zoo.policy.lora_linear import HalfLinear

    return Casts([layer for layer in layers if isinstance(layer, HalfLinear)])


def _linear_layers(network: nn.Module) -> list[str]:
    """What the linear layers are called, in a block if they are in one: `attn.to_q`."""
    names = (name for name, module in network.named_modules() if isinstance(module, nn.Linear))
    return sorted({re.sub(r"^.*?\.\d+\.", "", name) for name in names})
