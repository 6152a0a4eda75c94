"""A ViT-H/14 of open_clip as transformers' CLIPModel, and back.

open_clip: Ilharco et al., its CLIP class; the sizes are read off the weights.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# open_clip's ViT-H-14.json: 80 channels a head in the image tower, 64 in the text tower; the
# numbers of heads leave no trace in the weights.
_IMAGE_HEAD, _TEXT_HEAD = 80, 64

# From transformers' names to open_clip's, one after the other.
_RENAMED = (
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_projection.weight", "text_projection"),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."),
    ("vision_model.post_layernorm.", "visual.ln_post."),
    ("visual_projection.weight", "visual.proj"),
    (".self_attn.out_proj.", ".attn.out_proj."),
    (".layer_norm", ".ln_"),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
)
_TRANSPOSED = ("text_projection", "visual.proj")
_JOINED = ("q_proj", "k_proj", "v_proj")


def network(weights: Mapping[str, Tensor], source: str, *, fix: str) -> Any:
    """The CLIPModel of open_clip's weights, in float32; `source` and `fix` are for messages.

    Raises:
        ValueError: they are not those of a ViT-H/14, or some are missing or left over.
    """
    from transformers import CLIPModel

    config = _config(weights, source, fix)
    # Random weights would cost seconds and draw from the run's own generator.
    with torch.device("meta"):
        made = CLIPModel(config)
    wanted = {name: _published(name) for name in made.state_dict()}
    missing = sorted({name for name, _ in wanted.values()} - weights.keys())
    left = sorted(weights.keys() - {name for name, _ in wanted.values()})
    if missing or left:
        what = f"they have no {missing[0]!r}" if missing else f"{left[0]!r} is unknown"
        raise ValueError(
            f"the weights {source!r} are not of a ViT-H/14 of open_clip: {what} "
            f"({len(missing)} missing, {len(left)} unknown); {fix}"
        )
    found = {}
    for name, value in made.state_dict().items():
        published, part = wanted[name]
        taken = _taken(weights[published].float(), published, part)
        if taken.shape != value.shape:
            raise ValueError(
                f"{published!r} in the weights {source!r} is of shape "
                f"{list(weights[published].shape)}, which does not fit the others; {fix}"
            )
        found[name] = taken
    made.load_state_dict(found, assign=True)
    # Buffers that no file has.
    for embeddings in (made.text_model.embeddings, made.vision_model.embeddings):
        embeddings.position_ids = torch.arange(embeddings.position_embedding.num_embeddings)[None]
    return made


def published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a CLIPModel under open_clip's names."""
    parts: dict[str, list[Tensor]] = {}
    for name, value in sorted(state.items(), key=lambda item: _published(item[0])):
        known = _published(name)[0]
        parts.setdefault(known, []).append(value.T if known in _TRANSPOSED else value)
    return {
        name: (torch.cat(values) if len(values) > 1 else values[0]).contiguous()
        for name, values in parts.items()
    }


def _config(weights: Mapping[str, Tensor], source: str, fix: str) -> Any:
    from transformers import CLIPConfig

    try:
        num_words, text = weights["token_embedding.weight"].shape
        image, _, patch, _ = weights["visual.conv1.weight"].shape
        patches = len(weights["visual.positional_embedding"]) - 1
        num_positions, projection = len(weights["positional_embedding"]), weights["visual.proj"]
        hidden = [
            len(weights[f"{tower}transformer.resblocks.0.mlp.c_fc.bias"])
            for tower in ("visual.", "")
        ]
    except (KeyError, ValueError) as error:
        what = f"they have no {error}" if isinstance(error, KeyError) else "their shapes are others"
        raise ValueError(
            f"the weights {source!r} are not of a ViT-H/14 of open_clip: {what}; {fix}"
        ) from None
    if image % _IMAGE_HEAD or text % _TEXT_HEAD:
        raise ValueError(
            f"the weights {source!r} are of a CLIP of another size: widths {image} and {text}, "
            f"and a ViT-H/14's are multiples of {_IMAGE_HEAD} and {_TEXT_HEAD}; {fix}"
        )
    both = {"projection_dim": projection.shape[-1], "hidden_act": "gelu"}
    return CLIPConfig(
        text_config={
            **both,
            "vocab_size": num_words,
            "hidden_size": text,
            "intermediate_size": hidden[1],
            "num_hidden_layers": _count(weights, "transformer.resblocks.{}.ln_1.bias"),
            "num_attention_heads": text // _TEXT_HEAD,
            "max_position_embeddings": num_positions,
            # The last two of the vocabulary start and end a text.
            "bos_token_id": num_words - 2,
            "eos_token_id": num_words - 1,
            "pad_token_id": num_words - 1,
        },
        vision_config={
            **both,
            "hidden_size": image,
            "intermediate_size": hidden[0],
            "num_hidden_layers": _count(weights, "visual.transformer.resblocks.{}.ln_1.bias"),
            "num_attention_heads": image // _IMAGE_HEAD,
            "image_size": round(patches**0.5) * patch,
            "patch_size": patch,
        },
        projection_dim=projection.shape[-1],
    )


def _published(name: str) -> tuple[str, int]:
    """The name in open_clip, and which third of it: queries, keys and values are one tensor."""
    for ours, theirs in _RENAMED:
        name = name.replace(ours, theirs)
    for part, joined in enumerate(_JOINED):
        if joined in name:
            return name.replace(f".self_attn.{joined}.", ".attn.in_proj_"), part
    return name, 0


def _taken(value: Tensor, name: str, part: int) -> Tensor:
    if ".attn.in_proj_" in name:
        return value.chunk(len(_JOINED))[part].clone()
    return value.T.contiguous() if name in _TRANSPOSED else value


def _count(weights: Mapping[str, Tensor], name: str) -> int:
    return next(i for i in range(len(weights) + 1) if name.format(i) not in weights)
