"""How the tensors of a LoRA are called: `attn.to_q.lora_A.weight` here, and otherwise elsewhere."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from zoo.policy.lora_files.source import LoraError
from zoo.policy.weights import Lora

_NAME = re.compile(r"(?P<module>.+)\.lora_(?P<part>[AB])\.weight")

_STORED = re.compile(
    r"(?P<layer>.+?)\.(?P<part>lora_A|lora_B|lora[._]down|lora[._]up|down|up)"
    r"(\.(?P<adapter>[^.]+))?\.weight"
)
"""Also with the name that PEFT has for one of several adapters."""

PEFT_PREFIX = "base_model.model."
_PREFIXES = ("transformer.", "diffusion_model.", "model.diffusion_model.", "unet.", PEFT_PREFIX)
"""Of diffusers' pipelines, of ComfyUI, of other programs, of PEFT."""

_OTHER_KINDS = {"magnitude": "DoRA", "dora_scale": "DoRA", "hada_": "LoHa", "lokr_": "LoKr"}
_LONGEST = 200
"""Characters of a tensor's name; diffusers' have less than a hundred."""
_TEXT_ENCODERS = ("text_encoder", "lora_te")


@dataclass(frozen=True)
class Stored:
    """The tensors of a file by what they are: the names in it by those in the network."""

    matrices: Mapping[str, str]
    """By `layer.lora_A.weight` and `layer.lora_B.weight`, without a prefix."""
    alphas: Mapping[str, str]
    """By layer."""
    prefix: str
    """What the layers' names begin with in the file, if anything."""


def sort(names: Iterable[str], source: str, prefix: str | None = None) -> Stored:
    """Finds the matrices and alphas among the names of a file; `prefix` is that of the layers.

    Raises:
        LoraError: it has others besides, of a text encoder, say, or of several adapters.
    """
    found: dict[tuple[str, str], str] = {}
    adapters: set[str] = set()
    for name in names:
        if len(name) > _LONGEST:
            raise LoraError(f"'{source}' has a tensor whose name is {len(name):,} characters long")
        match = _STORED.fullmatch(name)
        # XLabs' alone are called no more than up and down.
        if match is not None and (match["part"] not in ("up", "down") or ".processor." in name):
            part = "A" if match["part"].endswith(("A", "down")) else "B"
            adapters |= {match["adapter"]} if match["adapter"] else set()
            key = (match["layer"], part)
        elif name.endswith(".alpha"):
            key = (name.removesuffix(".alpha"), "alpha")
        else:
            raise _stranger(name, source)
        if key in found:
            raise LoraError(f"'{source}' has '{name}' by two names; leave one out of the file")
        found[key] = name
    if len(adapters) > 1:
        raise LoraError(
            f"'{source}' has several adapters ({', '.join(sorted(adapters))}); save one of them "
            "alone"
        )
    layers = [layer for layer, _ in found]
    if prefix is None:
        prefix = next((p for p in _PREFIXES if any(n.startswith(p) for n in layers)), "")
    _require_of_network(found, prefix, source)
    bare = {(layer.removeprefix(prefix), part): name for (layer, part), name in found.items()}
    return Stored(
        {
            f"{layer}.lora_{part}.weight": bare[layer, part]
            for layer, part in bare
            if len(part) == 1
        },
        {layer: bare[layer, part] for layer, part in bare if part == "alpha"},
        prefix,
    )


def _stranger(name: str, source: str) -> LoraError:
    kind = next((kind for part, kind in _OTHER_KINDS.items() if part in name), None)
    if kind is not None:
        return LoraError(f"'{source}' is {kind} ('{name}'), which is not LoRA and not supported")
    return LoraError(
        f"'{source}': '{name}' is not a LoRA weight: allowed are lora_A and lora_B, lora_down and "
        "lora_up, and alpha; save the LoRA without it"
    )


def _require_of_network(found: Mapping[tuple[str, str], str], prefix: str, source: str) -> None:
    """Refuses the first tensor that is of something else than the network that is trained."""
    for (layer, _), name in found.items():
        if layer.startswith(_TEXT_ENCODERS):
            raise LoraError(
                f"'{source}' has '{name}' of a text encoder, which stays as it is in training; "
                "leave all of these out of the file"
            )
        if not layer.startswith(prefix):
            raise LoraError(
                f"'{source}' has '{name}', which is not of the network that is trained: its names "
                f"begin with '{prefix}'"
            )


def are_lora(names: Iterable[str]) -> bool:
    """Whether every name is that of an adapter's tensor, as in `attn.to_q.lora_A.weight`."""
    return all(_NAME.fullmatch(name) for name in names)


def module_of(name: str) -> str:
    """The layer of an adapter's tensor."""
    return name.rpartition(".lora_")[0]


def ranks(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, int]]:
    """The rank that each matrix of each layer has, as in `{attn.to_q: {A: 8, B: 8}}`.

    Raises:
        ValueError: a name or a shape is not that of an adapter's matrix, or there are none.
    """
    by_layer: dict[str, dict[str, int]] = {}
    for name, shape in shapes.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"'{name}' is not a LoRA weight")
        if len(shape) != 2:
            raise ValueError(f"'{name}' is of shape {list(shape)}, and only matrices are supported")
        part = match["part"]
        by_layer.setdefault(match["module"], {})[part] = shape[0 if part == "A" else 1]
    if not by_layer:
        raise ValueError("there are no LoRA weights")
    return by_layer


def require(tensors: Mapping[str, Tensor], lora: Lora) -> list[str]:
    """The names of the layers with adapters, each of which must have both matrices at the rank.

    Raises:
        ValueError: they do not.
    """
    by_layer = ranks({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    for module, its in by_layer.items():
        if its != {"A": lora.rank, "B": lora.rank}:
            ranks_given = " and ".join(f"{part} of rank {its[part]}" for part in sorted(its))
            raise ValueError(
                f"the LoRA of '{module}' has {ranks_given}, not A and B of rank {lora.rank}"
            )
    return sorted(by_layer)
