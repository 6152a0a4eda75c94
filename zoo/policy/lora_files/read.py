"""What the file of a LoRA holds, found in its header: layers, ranks, scale; its tensors on demand.

A layer's scale is alpha / rank, or alpha / sqrt(rank) with rank-stabilised LoRA (Kalajdzievski
2023, arXiv 2312.03732). PEFT's configuration says alpha; in other files the header or a tensor
`<layer>.alpha` does, or else alpha is the rank. Layers may have ranks and alphas of their own, as
`rank_pattern` and `alpha_pattern` give them. What else would change the result is refused, never
left out. Layers by the names of other programs are converted (`convert.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from safetensors import SafetensorError
from torch import Tensor

from zoo.errors import one_line
from zoo.policy.lora_files import peft_config
from zoo.policy.lora_files.convert import convert, is_foreign
from zoo.policy.lora_files.names import PEFT_PREFIX, Stored, module_of, ranks, sort
from zoo.policy.lora_files.peft_config import PeftConfig
from zoo.policy.lora_files.source import PEFT, PEFT_CONFIG, LoraError, find
from zoo.storage.tensor_file import TensorFile


class Converted(Mapping[str, Tensor]):
    """Tensors in memory by their names in the network; float32."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """These."""
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return tuple(self._tensors[name].shape)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._tensors))

    def __len__(self) -> int:
        return len(self._tensors)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA whose tensors are read when they are asked for."""

    where: str
    ranks: Mapping[str, int]
    """By layer."""
    scales: Mapping[str, float]
    """By layer: what B A is multiplied with."""
    listed: tuple[str, ...]
    """PEFT's `target_modules`, where they are a list."""
    _file: TensorFile | Converted
    _names: Mapping[str, str]

    @property
    def layers(self) -> list[str]:
        """The layers that it is of."""
        return sorted(self.scales)

    @property
    def rank(self) -> int:
        """The largest of all layers: what a network's LoRA must have to hold it."""
        return max(self.ranks.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return self._file.shape(self._names[name])

    def tensor(self, name: str, scale: float) -> Tensor:
        """In float32, for a network that multiplies B A by `scale`: what differs goes into B.

        Raises:
            LoraError: it has numbers that are not finite.
        """
        tensor, own = self._file[self._names[name]].float(), self.scales[module_of(name)]
        if not bool(tensor.isfinite().all()):
            raise LoraError(f"'{self.where}' has numbers in '{name}' that are not finite")
        if ".lora_B." not in name or own == scale:
            return tensor
        return (tensor.double() * own / scale).float()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its tensors, as the weights of a run have them."""
        return tuple(self._names)


def read(source: str) -> LoraFile:
    """Reads PEFT's configuration and the header of a LoRA's file; all of a file to convert.

    Raises:
        LoraError: there is none, or it is of a kind that cannot be taken over exactly.
    """
    files = find(source)
    try:
        file = TensorFile(files.weights)
    except (OSError, SafetensorError) as error:
        raise LoraError(f"'{source}' cannot be read: {one_line(error)}") from error
    config = peft_config.read_config(files, file, source)
    if config is not None:
        peft_config.require_plain(config, source)
    stored = sort(file, source, None if files.config is None else PEFT_PREFIX)
    if stored.prefix == PEFT_PREFIX and config is None:
        raise LoraError(
            f"'{source}' has PEFT's names, and only {PEFT_CONFIG} says its alpha; put that beside "
            f"it, and call it {PEFT}"
        )
    names = stored.matrices
    by_layer = _ranks(file, names, source)
    for name in names.values():
        if not file.is_float(name):
            raise LoraError(f"'{source}': '{name}' is quantised; save it in float32 or bfloat16")
    scales = _scales(config, stored, by_layer, file, source)
    targets = config.target_modules if config is not None else None
    listed = tuple(sorted(targets)) if isinstance(targets, list) else ()
    whole = LoraFile(source, by_layer, scales, listed, file, names)
    return _converted(whole) if any(map(is_foreign, by_layer)) else whole


def _converted(file: LoraFile) -> LoraFile:
    """By the names of diffusers' network, scales multiplied in."""
    tensors = Converted(
        convert(
            {
                layer: (
                    file.tensor(f"{layer}.lora_A.weight", 1.0),
                    file.tensor(f"{layer}.lora_B.weight", 1.0),
                )
                for layer in file.layers
            },
            file.where,
        )
    )
    by_layer = _ranks(tensors, {name: name for name in tensors}, file.where)
    scales = dict.fromkeys(by_layer, 1.0)
    return LoraFile(file.where, by_layer, scales, (), tensors, {name: name for name in tensors})


def _ranks(file: TensorFile | Converted, names: Mapping[str, str], source: str) -> dict[str, int]:
    """The rank of each layer, which both of its matrices have."""
    try:
        by_layer = ranks({name: file.shape(stored) for name, stored in names.items()})
    except ValueError as error:
        raise LoraError(f"'{source}': {error}") from error
    for layer, its in by_layer.items():
        if its.keys() != {"A", "B"} or its["A"] != its["B"]:
            ranks_given = " and ".join(f"{part} of rank {its[part]}" for part in sorted(its))
            raise LoraError(f"'{source}': '{layer}' has {ranks_given}, not A and B of one rank")
    return {layer: its["A"] for layer, its in by_layer.items()}


def _scales(
    config: PeftConfig | None,
    stored: Stored,
    by_layer: Mapping[str, int],
    file: TensorFile,
    source: str,
) -> dict[str, float]:
    """What each layer's B A is multiplied with."""
    alphas = stored.alphas
    if config is not None:
        if alphas:
            said = min(alphas.values())
            raise LoraError(f"'{source}' says alpha twice, in its configuration and in '{said}'")
        return peft_config.scales(config, by_layer, source)
    if stray := alphas.keys() - by_layer.keys():
        raise LoraError(f"'{source}' has '{alphas[min(stray)]}' and no LoRA of that layer")
    return {
        layer: float(file[alphas[layer]]) / rank if layer in alphas else 1.0
        for layer, rank in by_layer.items()
    }
