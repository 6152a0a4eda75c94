"""What the file of a LoRA holds, found in its header: layers, ranks, scale; its tensors on demand.

A layer's scale is alpha / rank, or alpha / sqrt(rank) with rank-stabilised LoRA (Kalajdzievski
2023, arXiv 2312.03732). PEFT's configuration says alpha; in other files the header or a tensor
`<layer>.alpha` does, or else alpha is the rank. Layers may have ranks and alphas of their own, as
`rank_pattern` and `alpha_pattern` give them. What else would change the result is refused, never
left out. Layers by the names of other programs are converted (`convert.py`).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from zoo.errors import one_line
from zoo.policy.lora_files.convert import convert, is_foreign
from zoo.policy.lora_files.names import PEFT_PREFIX, Stored, module_of, ranks, sort
from zoo.policy.lora_files.source import PEFT, PEFT_CONFIG, Files, LoraError, find
from zoo.storage.tensor_file import TensorFile

_METADATA = "lora_adapter_metadata"

_HEEDED = {"r", "lora_alpha", "alpha_pattern", "rank_pattern", "use_rslora", "peft_type", "bias"}
_OF_NO_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "peft_version",
    "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
}  # fmt: skip
"""On tensors that are there already: the layers are those of the file."""

_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Ways to start, of `init_lora_weights`, that leave the base as it is."""


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
    config = _config(files, file, source)
    if config is not None:
        _require_plain(config, source)
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
    targets = (config or {}).get("target_modules")
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


def _config(files: Files, file: TensorFile, source: str) -> dict[str, Any] | None:
    """PEFT's configuration, in a file of its own or in the header's metadata."""
    try:
        if files.config is not None:
            config = json.loads(files.config.read_text(encoding="utf-8"))
        elif _METADATA in file.metadata:
            config = {
                key.removeprefix("transformer."): value
                for key, value in json.loads(file.metadata[_METADATA]).items()
            }
        else:
            return None
        return dict(config)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        name = PEFT_CONFIG if files.config else _METADATA
        raise LoraError(f"'{source}': its {name} cannot be read: {one_line(error)}") from error


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
    config: Mapping[str, Any] | None,
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
        return {layer: _scale(config, layer, rank, source) for layer, rank in by_layer.items()}
    if stray := alphas.keys() - by_layer.keys():
        raise LoraError(f"'{source}' has '{alphas[min(stray)]}' and no LoRA of that layer")
    return {
        layer: float(file[alphas[layer]]) / rank if layer in alphas else 1.0
        for layer, rank in by_layer.items()
    }


def _require_plain(config: Mapping[str, Any], source: str) -> None:
    """Refuses all that would make the result another one."""
    if config.get("peft_type", "LORA") != "LORA":
        raise LoraError(f"'{source}' is {config['peft_type']}, not LORA")
    if config.get("bias", "none") not in ("none", None):
        raise LoraError(f"'{source}' trained biases too (bias: {config['bias']}): not supported")
    init = config.get("init_lora_weights")
    if init not in _INITS:
        raise LoraError(
            f"'{source}' began with init_lora_weights {init}, which changes the base: convert it "
            "with PEFT's path_initial_model_for_weight_conversion first"
        )
    for key in sorted(config.keys() - _HEEDED - _OF_NO_EFFECT):
        if config[key]:
            raise LoraError(f"'{source}' was trained with PEFT's {key}, which is not supported")


def _scale(config: Mapping[str, Any], layer: str, rank: int, source: str) -> float:
    """As PEFT finds it: the first pattern that the end of the layer's name matches."""
    alpha = config.get("lora_alpha")
    try:
        for pattern, its in (config.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", layer):
                alpha = its
                break
        size = float(alpha)  # type: ignore[arg-type]
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise LoraError(f"'{source}' says no usable lora_alpha: {one_line(error)}") from error
    return size / (math.sqrt(rank) if config.get("use_rslora") else rank)
