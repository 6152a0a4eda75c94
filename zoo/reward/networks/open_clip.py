"""Weights in open_clip's layout as transformers' CLIPModel: ViT-H-14 and models built like it.

open_clip keeps the query, key and value of an attention in one matrix and its projections
transposed. Its ViT-H-14 has vision heads of 80 and text heads of 64, and the exact GELU.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.errors import join_lines

_VISION_HEAD, _TEXT_HEAD = 80, 64

_PLAIN = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
_BLOCKS = {
    "transformer.resblocks.": "text_model.encoder.layers.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
}
_INSIDE = {
    "attn.out_proj.": "self_attn.out_proj.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_NOT_WEIGHTS = frozenset({"attn_mask"})


def clip_model(weights: Mapping[str, Any], source: str) -> Any:
    """A CLIPModel with these weights, on the CPU.

    Raises:
        ValueError: they are of another layout or not whole; `source` is what they are called.
    """
    from transformers import CLIPModel

    try:
        mapped = dict(_rename(weights))
        config = _config(weights)
        # Random weights would cost seconds and draw from the run's own generator.
        with torch.device("meta"):
            model = CLIPModel(config)
        model.load_state_dict(mapped, strict=True, assign=True)
    except (KeyError, RuntimeError, AttributeError, ValueError, IndexError) as error:
        reason = join_lines(error)[:200]
        raise ValueError(
            f"the weights {source!r} are not of a CLIP in open_clip's layout: {reason}; "
            "the published ones are weights: xswu/HPSv2"
        ) from error
    # Buffers that no file has.
    for part in (model.text_model.embeddings, model.vision_model.embeddings):
        part.position_ids = torch.arange(part.position_embedding.num_embeddings)[None]
    return model


def open_clip_layout(model: Any) -> dict[str, Tensor]:
    """The weights of a CLIPModel as open_clip keeps them."""
    weights: dict[str, Tensor] = model.state_dict()
    renamed = {ours: weights[theirs].clone() for ours, theirs in _PLAIN.items()}
    renamed |= {ours: weights[theirs].T.contiguous() for ours, theirs in _TRANSPOSED.items()}
    for ours, theirs in _BLOCKS.items():
        depth = len({name.split(".")[3] for name in weights if name.startswith(theirs)})
        for number in range(depth):
            before, after = f"{theirs}{number}.", f"{ours}{number}."
            for part in ("weight", "bias"):
                attention = [weights[f"{before}self_attn.{letter}_proj.{part}"] for letter in "qkv"]
                renamed[f"{after}attn.in_proj_{part}"] = torch.cat(attention)
                for name, inside in _INSIDE.items():
                    renamed[f"{after}{name}{part}"] = weights[f"{before}{inside}{part}"].clone()
    return renamed


def _config(weights: Mapping[str, Tensor]) -> Any:
    from transformers import CLIPConfig

    conv, positions = weights["visual.conv1.weight"], weights["visual.positional_embedding"]
    words = weights["token_embedding.weight"]
    if conv.ndim != 4 or words.ndim != 2:
        raise ValueError(f"its patches are {list(conv.shape)} and its words {list(words.shape)}")
    if len(conv) % _VISION_HEAD or words.shape[1] % _TEXT_HEAD:
        raise ValueError(
            f"it is of another size: widths of {len(conv)} and {words.shape[1]} are not made of "
            f"heads of {_VISION_HEAD} and {_TEXT_HEAD}, as a ViT-H-14's"
        )
    patches = round((len(positions) - 1) ** 0.5)
    vision = {
        "hidden_size": len(conv),
        "num_attention_heads": len(conv) // _VISION_HEAD,
        "num_hidden_layers": _depth(weights, "visual.transformer.resblocks."),
        "intermediate_size": len(weights["visual.transformer.resblocks.0.mlp.c_fc.weight"]),
        "patch_size": conv.shape[-1],
        "image_size": patches * conv.shape[-1],
        "hidden_act": "gelu",
    }
    text = {
        "vocab_size": len(words),
        "hidden_size": words.shape[1],
        "num_attention_heads": words.shape[1] // _TEXT_HEAD,
        "num_hidden_layers": _depth(weights, "transformer.resblocks."),
        "intermediate_size": len(weights["transformer.resblocks.0.mlp.c_fc.weight"]),
        "max_position_embeddings": len(weights["positional_embedding"]),
        "hidden_act": "gelu",
        "bos_token_id": None,
        # The last of its vocabulary ends a text, and is where the text is read.
        "eos_token_id": len(words) - 1,
    }
    width = weights["visual.proj"].shape[1]
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)


def _depth(weights: Mapping[str, Tensor], blocks: str) -> int:
    return 1 + max(
        int(name.removeprefix(blocks).partition(".")[0])
        for name in weights
        if name.startswith(blocks)
    )


def _rename(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in weights.items():
        if name in _PLAIN:
            yield _PLAIN[name], value.float()
        elif name in _TRANSPOSED:
            yield _TRANSPOSED[name], value.T.float().contiguous()
        elif name not in _NOT_WEIGHTS:
            yield from _of_a_block(name, value.float())


def _pair(names: Mapping[str, str], name: str) -> tuple[str, str]:
    for pair in names.items():
        if name.startswith(pair[0]):
            return pair
    raise KeyError(f"{name} is unknown")


def _of_a_block(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    before, after = _pair(_BLOCKS, name)
    number, _, rest = name.removeprefix(before).partition(".")
    block = f"{after}{number}."
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        for letter, part in zip("qkv", value.chunk(3), strict=True):
            yield f"{block}self_attn.{letter}_proj.{kind}", part.clone()
    else:
        old, new = _pair(_INSIDE, rest)
        yield block + new + rest.removeprefix(old), value
