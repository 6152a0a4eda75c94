"""PEFT's configuration of a LoRA: what of it changes the result, and each layer's scale.

It comes from others, so it is of a bounded size, and so is the time that its patterns take.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from zoo.errors import one_line
from zoo.policy.lora_files.source import PEFT_CONFIG, Files, LoraError
from zoo.storage.tensor_file import TensorFile

_METADATA = "lora_adapter_metadata"
"""In the header of what diffusers saves."""

_OF_NO_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_dropout", "megatron_core", "peft_version", "qalora_group_size",
    "r", "rank_pattern", "revision", "runtime_config", "task_type",
}  # fmt: skip
"""On tensors that are there already: the layers are those of the file."""

_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Ways to start, of `init_lora_weights`, that leave the base as it is."""

_NAME_PATTERN = re.compile(
    r"\^?(?:[\w.-]|\\[.-])*"
    r"(?P<repeated>(?:\.|\\d|\[0-9\])[*+])?(?:[\w.-]|\\[.-])*\$?"
)
"""A name, as a regular expression that repeats one thing at most: its time has a bound."""
_LARGEST_CONFIG = 1 << 20
"""Characters: a configuration names some hundred layers."""
_MOST_PATTERNS, _MOST_REPEATED = 5_000, 100


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


def read_config(files: Files, file: TensorFile, source: str) -> PeftConfig | None:
    """PEFT's configuration, in a file of its own or in the header's metadata."""
    name = PEFT_CONFIG if files.config else _METADATA
    try:
        if files.config is not None:
            config = json.loads(_small_text(files.config))
        elif _METADATA in file.metadata:
            config = {
                key.removeprefix("transformer."): value
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


def require_plain(config: PeftConfig, source: str) -> None:
    """Refuses all that would make the result another one.

    Raises:
        LoraError: what that is.
    """
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


def scales(config: PeftConfig, by_layer: Mapping[str, int], source: str) -> dict[str, float]:
    """Of each layer, given its rank, as PEFT finds it: by the first pattern that its end matches.

    Raises:
        LoraError: no alpha is said, or a pattern is none that ends.
    """
    given = config.alpha_pattern or {}
    if len(given) > _MOST_PATTERNS:
        raise LoraError(
            f"'{source}' has {len(given):,} of alpha_pattern; {_MOST_PATTERNS:,} may be"
        )
    _require_names(given, source)
    # `attn.to_q` is of `blocks.0.attn.to_q`.
    patterns = [(re.compile(rf"(.*\.)?({each})$"), alpha) for each, alpha in given.items()]
    found = {}
    for layer, rank in by_layer.items():
        own = (alpha for pattern, alpha in patterns if pattern.match(layer))
        alpha = next(own, config.lora_alpha)
        if alpha is None:
            raise LoraError(f"'{source}' says no usable lora_alpha: it is left out")
        found[layer] = alpha / (math.sqrt(rank) if config.use_rslora else rank)
    return found


def _require_names(patterns: Collection[str], source: str) -> None:
    """What PEFT and diffusers write; any other regular expression may take for ever to match."""
    num_repeated = 0
    for pattern in patterns:
        name = _NAME_PATTERN.fullmatch(pattern)
        num_repeated += name is not None and name["repeated"] is not None
        if name is None or num_repeated > _MOST_REPEATED:
            raise LoraError(
                f"'{source}' has the alpha_pattern {pattern[:60]!r}, a regular expression that may "
                "take for ever; write the names of its layers"
            )
