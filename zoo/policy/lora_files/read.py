"""What the file of a LoRA holds, found in its header: layers, rank, scale; its tensors on demand.

A layer's scale is alpha / rank, or alpha / sqrt(rank) with rank-stabilised LoRA (Kalajdzievski
2023, arXiv 2312.03732). PEFT's configuration says alpha; in diffusers' file the header or a tensor
`<layer>.alpha` does, or else alpha is the rank. Where `alpha_pattern` gives layers alphas of their
own, each has its own scale. What else would change the result is refused, never left out. Names of
other programs are read as diffusers reads them (`convert.py`).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from zoo.errors import one_line
from zoo.policy.lora_files.convert import Converted, convert, is_foreign
from zoo.policy.lora_files.names import module_of, ranks
from zoo.policy.lora_files.source import PEFT_CONFIG, Files, LoraError, find
from zoo.storage.tensor_file import TensorFile

_PEFT_PREFIX, _DIFFUSERS_PREFIX = "base_model.model.", "transformer."
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


@dataclass(frozen=True)
class LoraFile:
    """A LoRA whose tensors are read when they are asked for."""

    where: str
    rank: int
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
    """Reads the header of a LoRA's file, and PEFT's configuration; all of a file to convert.

    Raises:
        LoraError: there is none, or it is of a kind that cannot be taken over exactly.
    """
    files = find(source)
    try:
        file = TensorFile(files.weights)
    except (OSError, SafetensorError) as error:
        raise LoraError(f"'{source}' cannot be read: {one_line(error)}") from error
    if files.config is None and is_foreign(file):
        return _read_converted(convert(file, source), source)
    config = _config(files, file, source)
    alphas = {name for name in file if name.endswith(".alpha")}
    names = _strip_prefix([name for name in file if name not in alphas], files, source)
    try:
        by_layer = ranks({name: file.shape(stored) for name, stored in names.items()})
    except ValueError as error:
        raise LoraError(f"'{source}': {error}") from error
    rank = _rank(by_layer, source)
    if integer := next((stored for stored in names.values() if not file.is_float(stored)), None):
        raise LoraError(f"'{source}': '{integer}' is quantised; save it in float32 or bfloat16")
    if config is not None:
        if alphas:
            raise LoraError(f"'{source}' says alpha twice, in its header and in '{min(alphas)}'")
        _require_plain(config, source)
        scales = {layer: _scale(config, layer, rank, source) for layer in by_layer}
    else:
        alpha_names = {name.removeprefix(_DIFFUSERS_PREFIX): name for name in alphas}
        if stray := alpha_names.keys() - {f"{layer}.alpha" for layer in by_layer}:
            raise LoraError(f"'{source}' has '{min(stray)}' and no LoRA of that layer")
        scales = {
            layer: float(file[alpha_names[f"{layer}.alpha"]]) / rank
            if f"{layer}.alpha" in alpha_names
            else 1.0
            for layer in by_layer
        }
    targets = (config or {}).get("target_modules")
    listed = tuple(sorted(targets)) if isinstance(targets, list) else ()
    return LoraFile(source, rank, scales, listed, file, names)


def _read_converted(tensors: Converted, source: str) -> LoraFile:
    """What diffusers made of another program's file, whose scales it multiplied in."""
    shapes = {name: tensors.shape(name) for name in tensors}
    rank = _rank(ranks(shapes), source)
    scales = {module_of(name): 1.0 for name in tensors}
    return LoraFile(source, rank, scales, (), tensors, {name: name for name in tensors})


def _config(files: Files, file: TensorFile, source: str) -> dict[str, Any] | None:
    """PEFT's configuration, in a file of its own or in the header's metadata."""
    try:
        if files.config is not None:
            config = json.loads(files.config.read_text(encoding="utf-8"))
        elif _METADATA in file.metadata:
            config = {
                key.removeprefix(_DIFFUSERS_PREFIX): value
                for key, value in json.loads(file.metadata[_METADATA]).items()
            }
        else:
            return None
        return dict(config)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        name = PEFT_CONFIG if files.config else _METADATA
        raise LoraError(f"'{source}': its {name} cannot be read: {one_line(error)}") from error


def _strip_prefix(stored: list[str], files: Files, source: str) -> dict[str, str]:
    """The names in the file, by those in the network."""
    for name in stored:
        if "magnitude" in name:
            raise LoraError(f"'{source}' is DoRA ('{name}'), which is not LoRA and not supported")
    if files.config is not None:
        prefix = _PEFT_PREFIX
    else:
        # Saved by the pipeline, or by its network.
        prefix = _DIFFUSERS_PREFIX if any(n.startswith(_DIFFUSERS_PREFIX) for n in stored) else ""
    if other := next((name for name in stored if not name.startswith(prefix)), None):
        raise LoraError(
            f"'{source}' has '{other}', which is not of the network that is trained: its names "
            f"begin with '{prefix}'"
        )
    return {name.removeprefix(prefix): name for name in stored}


def _rank(by_layer: Mapping[str, Mapping[str, int]], source: str) -> int:
    """The one rank of all layers."""
    for layer, its in by_layer.items():
        if its.keys() != {"A", "B"} or its["A"] != its["B"]:
            ranks_given = " and ".join(f"{part} of rank {its[part]}" for part in sorted(its))
            raise LoraError(f"'{source}': '{layer}' has {ranks_given}, not A and B of one rank")
    every = sorted({its["A"] for its in by_layer.values()})
    if len(every) > 1:
        raise LoraError(
            f"'{source}' has layers of the ranks {', '.join(map(str, every))}, and a run's LoRA "
            "has one rank"
        )
    return every[0]


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
