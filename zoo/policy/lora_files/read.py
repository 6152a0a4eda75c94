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
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from zoo.errors import one_line
from zoo.policy.lora_files.convert import Converted, convert, is_foreign
from zoo.policy.lora_files.names import module_of, ranks
from zoo.policy.lora_files.source import PEFT_CONFIG, Files, LoraError, find
from zoo.storage.tensor_file import TensorFile

_PEFT_PREFIX, _DIFFUSERS_PREFIX = "base_model.model.", "transformer."
_METADATA = "lora_adapter_metadata"

_OF_NO_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_dropout", "megatron_core", "peft_version", "qalora_group_size",
    "r", "rank_pattern", "revision", "runtime_config", "task_type",
}  # fmt: skip
"""On tensors that are there already: the layers are those of the file."""

_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Ways to start, of `init_lora_weights`, that leave the base as it is."""


_NAME_PATTERN = re.compile(r"\^?([\w.-]|\\[.-])+\$?")
_LARGEST_CONFIG = 1 << 20
"""Characters: a configuration names some hundred layers."""
_MOST_PATTERNS = 5_000
_LONGEST_NAME = 500
"""Characters of a tensor's name; diffusers' have less than a hundred."""


class PeftConfig(BaseModel):
    """Of PEFT's configuration what changes the result; null is PEFT's own default."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    peft_type: str = "LORA"
    bias: str | None = None
    init_lora_weights: bool | str | None = None
    lora_alpha: float | None = None
    alpha_pattern: dict[str, float] | None = None
    use_rslora: bool | None = None
    target_modules: list[str] | str | None = None


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
        scales = _scales(config, by_layer.keys(), rank, source)
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
    targets = config.target_modules if config is not None else None
    listed = tuple(sorted(targets)) if isinstance(targets, list) else ()
    return LoraFile(source, rank, scales, listed, file, names)


def _read_converted(tensors: Converted, source: str) -> LoraFile:
    """What diffusers made of another program's file, whose scales it multiplied in."""
    shapes = {name: tensors.shape(name) for name in tensors}
    rank = _rank(ranks(shapes), source)
    scales = {module_of(name): 1.0 for name in tensors}
    return LoraFile(source, rank, scales, (), tensors, {name: name for name in tensors})


def _config(files: Files, file: TensorFile, source: str) -> PeftConfig | None:
    """PEFT's configuration, in a file of its own or in the header's metadata."""
    name = PEFT_CONFIG if files.config else _METADATA
    try:
        if files.config is not None:
            config = json.loads(_small_text(files.config))
        elif _METADATA in file.metadata:
            config = {
                key.removeprefix(_DIFFUSERS_PREFIX): value
                for key, value in json.loads(file.metadata[_METADATA]).items()
            }
        else:
            return None
        return PeftConfig.model_validate_json(json.dumps(config))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise LoraError(f"'{source}': its {name} is no LoRA's: {place}: {first['msg']}") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LoraError(f"'{source}': its {name} cannot be read: {one_line(error)}") from error


def _small_text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(_LARGEST_CONFIG + 1)
    if len(text) > _LARGEST_CONFIG:
        raise ValueError(f"it is over {_LARGEST_CONFIG:,} characters long")
    return text


def _strip_prefix(stored: list[str], files: Files, source: str) -> dict[str, str]:
    """The names in the file, by those in the network."""
    for name in stored:
        if len(name) > _LONGEST_NAME:
            raise LoraError(f"'{source}' has a tensor whose name is {len(name):,} characters long")
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


def _require_plain(config: PeftConfig, source: str) -> None:
    """Refuses all that would make the result another one."""
    if config.peft_type != "LORA":
        raise LoraError(f"'{source}' is {config.peft_type}, not LORA")
    if config.bias not in ("none", None):
        raise LoraError(f"'{source}' trained biases too (bias: {config.bias}): not supported")
    if config.init_lora_weights not in _INITS:
        raise LoraError(
            f"'{source}' began with init_lora_weights {config.init_lora_weights}, which changes "
            "the base: convert it with PEFT's path_initial_model_for_weight_conversion first"
        )
    others = config.model_extra or {}
    for key in sorted(others.keys() - _OF_NO_EFFECT):
        if others[key]:
            raise LoraError(f"'{source}' was trained with PEFT's {key}, which is not supported")


def _scales(
    config: PeftConfig, layers: Collection[str], rank: int, source: str
) -> dict[str, float]:
    """As PEFT finds them: of the first pattern that the end of a layer's name matches."""
    given = config.alpha_pattern or {}
    if len(given) > _MOST_PATTERNS:
        raise LoraError(
            f"'{source}' has {len(given):,} of alpha_pattern; {_MOST_PATTERNS:,} may be"
        )
    # `attn.to_q` is of `blocks.0.attn.to_q`.
    patterns = [
        (re.compile(rf"(.*\.)?({_require_name(pattern, source)})$"), alpha)
        for pattern, alpha in given.items()
    ]
    divisor = math.sqrt(rank) if config.use_rslora else rank
    scales = {}
    for layer in layers:
        own = (alpha for pattern, alpha in patterns if pattern.match(layer))
        alpha = next(own, config.lora_alpha)
        if alpha is None:
            raise LoraError(f"'{source}' says no usable lora_alpha: it is left out")
        scales[layer] = alpha / divisor
    return scales


def _require_name(pattern: str, source: str) -> str:
    """What PEFT and diffusers write; any other regular expression may take for ever to match."""
    if not _NAME_PATTERN.fullmatch(pattern):
        raise LoraError(
            f"'{source}' has the alpha_pattern {pattern[:60]!r}, which is a regular expression; "
            "write the names of its layers"
        )
    return pattern
