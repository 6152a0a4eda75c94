"""A component's default configuration, made small by the names of its options."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

WIDTH = 64
"""Of transformers and of the text encoders that are not CLIP's."""
HEADS = 4
HEAD_WIDTH = WIDTH // HEADS
CLIP_WIDTH = WIDTH // 2
CHANNELS = 8
"""Of an autoencoder's or a UNet's widest resolution."""
GROUPS = 4
"""Of group norms."""
SIDE = 64
"""Pixels of an image's side."""
DEPTH = 2
"""Of repeated blocks: one would not show whether the order of two matters."""


def defaults(cls: Any) -> dict[str, Any]:
    """The options of a component's constructor that have a default."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def shrink(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a rule makes small, with their new values."""
    small = {name: _smaller(name, value) for name, value in options.items()}
    return {name: value for name, value in small.items() if value != options[name]}


def axes(widths: Sequence[int], total: int, step: int = 2) -> tuple[int, ...]:
    """Rotary widths in about the same proportions, multiples of `step`, that sum to `total`."""
    scale = total / sum(widths)
    small = [max(step, int(width * scale) // step * step) for width in widths]
    for i in range((total - sum(small)) // step):
        small[i % len(small)] += step
    return tuple(small)


def channels(widths: Sequence[int]) -> tuple[int, ...]:
    """A network's channels at its resolutions, in the same proportions."""
    return tuple(CHANNELS * width // min(widths) for width in widths)


def _smaller(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _first(_NUMBERS, name, value)
    if isinstance(value, (tuple, list)) and value and all(type(v) is int for v in value):
        return type(value)(_first(_SEQUENCES, name, value))
    return value


def _first(rules: Sequence[tuple[str, Callable[[Any], Any]]], name: str, value: Any) -> Any:
    """As the first rule says whose pattern is found in the name."""
    return next((rule(value) for pattern, rule in rules if re.search(pattern, name)), value)


def _at_most(most: int) -> Callable[[int], int]:
    return lambda value: min(value, most)


def _same(value: Any) -> Any:
    return value


_NUMBERS: Sequence[tuple[str, Callable[[int], int]]] = (
    (r"patch_size|image_size|kernel_size|window_size|(^|_)(in|out|input|output)_channels$", _same),
    (r"latent_channels|latent_dim|z_dim|z_channels|num_channels|pos_embed_seq_len", _same),
    (r"layers_per_block$|num_(res|enc|dec)_blocks$", _at_most(1)),
    (r"(layers|blocks|depth)$", _at_most(DEPTH)),
    (r"heads$", _at_most(HEADS)),
    (r"head_dim$|dim_head$|^d_kv$", _at_most(HEAD_WIDTH)),
    (r"groups$", _at_most(GROUPS)),
    (r"base_dim$|^(ch|channels)$|^base_channels$", _at_most(CHANNELS)),
    (r"^sample_(size|height|width)$", _at_most(SIDE // 8)),
    (r"pos_embed_max_size$", _at_most(32)),
    (r"experts$", _at_most(4)),
    (r"(ffn|^ff|_ff|mlp|intermediate|feed_forward)\w*(dim|size)$|^d_ff$", _at_most(2 * WIDTH)),
    (r"query_pre_attn_scalar", _at_most(HEAD_WIDTH)),
    (r"(^|_)(dim|hidden_size|d_model|embed_dim|channels|features)$", _at_most(WIDTH)),
    (r"(dim|hidden_size|num_channels|dim_\w+|dim2)$", _at_most(WIDTH)),
)
"""Of a single number, by a pattern in its name."""

_SEQUENCES: Sequence[tuple[str, Callable[[Any], Any]]] = (
    (r"mrope_section", lambda widths: axes(widths, HEAD_WIDTH // 2, 1)),
    (r"axes_dims?(_rope)?$|axes_dim_rope|rope_axes_dim|rope_dim", lambda w: axes(w, HEAD_WIDTH)),
    (r"out_channels$|stage_channels$", channels),
    (r"layers_per_block$|depths$", lambda counts: [min(count, 1) for count in counts]),
    (r"heads$", lambda counts: [min(count, HEADS) for count in counts]),
)
