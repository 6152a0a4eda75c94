"""How the tensors of a LoRA are called, and what ranks their shapes say."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from zoo.policy.weights import Lora

_NAME = re.compile(r"(?P<module>.+)\.lora_(?P<part>[AB])\.weight")


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
