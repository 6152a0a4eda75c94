"""Text and image encoders of transformers: the default configuration of their class, shrunk."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from zoo.policy.tiny import clip_config, t5_encoder
from zoo.policy.tiny_pipelines.shrink import CLIP_WIDTH, HEAD_WIDTH, WIDTH, axes, shrink
from zoo.policy.tiny_pipelines.table import ENCODERS

_PUBLISHED: Mapping[str, str] = {
    "GemmaPreTrainedModel": "GemmaModel",
    "Gemma2PreTrainedModel": "Gemma2Model",
    "PreTrainedModel": "Qwen3Model",
    "CLIPProcessor": "CLIPImageProcessor",
}
"""The class that published checkpoints have where a pipeline names one that is not made."""

_TOKENS: Mapping[str, str] = {
    "image_token_id": "<|image_pad|>",
    "image_token_index": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
"""The options of a configuration that are a token's number."""

_SPREAD = 2 * WIDTH**-0.5
"""Of initial weights: large enough that a word makes a difference to those that follow it."""


def concrete(cls: Any) -> Any:
    """The class that is made where a pipeline asks for this one."""
    import transformers

    name = _PUBLISHED.get(cls.__name__)
    return getattr(transformers, name) if name else cls


def encoder(cls: Any, words: Any = None, *, layers: int | None = None, positions: int = 77) -> Any:
    """A random encoder of that class, for a tokenizer where it reads text.

    CLIP's reads as many tokens as there are `positions`.
    """
    if cls.__name__.startswith("CLIPText"):
        config = clip_config(words)
        config.max_position_embeddings = positions
        return cls(config)
    if cls.__name__ == "T5EncoderModel":
        return t5_encoder(words)
    config = _config(_config_class(cls), words, layers)
    for name, value in ENCODERS.get(cls.__name__, {}).items():
        setattr(config.get_text_config(), name, value)
    return cls(config)


def _config_class(cls: Any) -> Any:
    """Of the configuration that its constructor takes."""
    hint = inspect.signature(cls.__init__).parameters["config"].annotation
    return hint if dataclasses.is_dataclass(hint) else cls.config_class


def width(model: Any) -> int:
    """Of the embeddings that a text encoder gives."""
    config = model.config.get_text_config()
    return int(config.hidden_size)


def _config(cls: Any, words: Any, layers: int | None) -> Any:
    """A configuration of that class and of the parts that it has, for the tokenizer's tokens."""
    options = {
        field.name: field.default
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING
    }
    small = shrink(options) | _of_tokens(options, words) | _of_blocks(options, layers)
    if "mrope_section" in cls.ignore_keys_at_rope_validation:
        small["rope_parameters"] = multimodal_rotary()
    parts = {
        name: _config(type(part), words, layers).to_dict()
        for name, part in vars(cls()).items()
        if name in cls.sub_configs and dataclasses.is_dataclass(part)
    }
    return cls(**small, **parts)


def _of_tokens(options: Mapping[str, Any], words: Any) -> dict[str, Any]:
    if words is None:
        return {}
    known = {
        "vocab_size": len(words),
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.pad_token_id if words.bos_token_id is None else words.bos_token_id,
        "eos_token_id": words.eos_token_id,
    }
    known |= {name: words.convert_tokens_to_ids(token) for name, token in _TOKENS.items()}
    return {name: value for name, value in known.items() if name in options and value is not None}


def _of_blocks(options: Mapping[str, Any], layers: int | None) -> dict[str, Any]:
    """What the number and the width of blocks imply."""
    implied = {
        "initializer_range": _SPREAD,
        "fullatt_block_indexes": [1],
        "deepstack_visual_indexes": [0, 1],
        "max_window_layers": 0,
        "projection_dim": CLIP_WIDTH,
    }
    if layers is not None:
        # So many are narrow.
        implied |= {"num_hidden_layers": layers, "intermediate_size": WIDTH // 2}
    return {name: value for name, value in implied.items() if name in options}


def multimodal_rotary() -> dict[str, Any]:
    """Of Qwen's models of text and images: a head's width as time, height and width."""
    sections = axes((16, 24, 24), HEAD_WIDTH // 2, 1)
    return {"rope_type": "default", "rope_theta": 1e6, "mrope_section": list(sections)}
