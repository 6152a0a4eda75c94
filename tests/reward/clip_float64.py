"""CLIP's equations written out once more, in float64, on weights in open_clip's layout."""

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, normalize, unfold

ACTIVATIONS = {"gelu": gelu, "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x)}


def open_clip_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a CLIPModel as open_clip would have saved them, in float64."""
    out = {
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "text_projection": state["text_projection.weight"].T,
        "logit_scale": state["logit_scale"],
        "visual.proj": state["visual_projection.weight"].T,
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
    }
    norms = {
        "ln_final": "text_model.final_layer_norm",
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
    }
    for ours, tower in (("transformer", "text"), ("visual.transformer", "vision")):
        for i in range(2):
            block, layer = f"{ours}.resblocks.{i}", f"{tower}_model.encoder.layers.{i}"
            norms |= {f"{block}.ln_1": f"{layer}.layer_norm1"}
            norms |= {f"{block}.ln_2": f"{layer}.layer_norm2"}
            norms |= {f"{block}.attn.out_proj": f"{layer}.self_attn.out_proj"}
            norms |= {f"{block}.mlp.c_fc": f"{layer}.mlp.fc1"}
            norms |= {f"{block}.mlp.c_proj": f"{layer}.mlp.fc2"}
            for kind in ("weight", "bias"):
                out[f"{block}.attn.in_proj_{kind}"] = torch.cat(
                    [state[f"{layer}.self_attn.{name}_proj.{kind}"] for name in "qkv"]
                )
    for ours, theirs in norms.items():
        for kind in ("weight", "bias"):
            out[f"{ours}.{kind}"] = state[f"{theirs}.{kind}"]
    return {name: value.double() for name, value in out.items()}


def norm(x: Tensor, weights, name: str) -> Tensor:
    return layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)


def blocks(x: Tensor, weights, name: str, act: str, *, causal: bool) -> Tensor:
    """Two blocks of attention in two heads and a perceptron."""
    for i in range(2):
        at = f"{name}transformer.resblocks.{i}"
        y = norm(x, weights, f"{at}.ln_1")
        qkv = linear(y, weights[f"{at}.attn.in_proj_weight"], weights[f"{at}.attn.in_proj_bias"])
        q, k, v = (part.unflatten(-1, (2, -1)) for part in qkv.chunk(3, -1))
        logits = torch.einsum("bqhc,bkhc->bhqk", q, k) / q.shape[-1] ** 0.5
        if causal:
            later = torch.ones(logits.shape[-2:]).triu(1).bool()
            logits = logits.masked_fill(later, -torch.inf)
        y = torch.einsum("bhqk,bkhc->bqhc", logits.softmax(-1), v).flatten(2)
        x = x + dense(y, weights, f"{at}.attn.out_proj")
        y = dense(norm(x, weights, f"{at}.ln_2"), weights, f"{at}.mlp.c_fc")
        x = x + dense(ACTIVATIONS[act](y), weights, f"{at}.mlp.c_proj")
    return x


def dense(x: Tensor, weights, name: str) -> Tensor:
    return linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def image_embedding(weights, pixels: Tensor, act: str) -> Tensor:
    """Of unit length."""
    kernel = weights["visual.conv1.weight"]
    patches = unfold(pixels.double(), kernel.shape[-1], stride=kernel.shape[-1]).transpose(1, 2)
    x = torch.cat(
        [
            weights["visual.class_embedding"].expand(len(patches), 1, -1),
            patches @ kernel.flatten(1).T,
        ],
        1,
    )
    x = norm(x + weights["visual.positional_embedding"], weights, "visual.ln_pre")
    x = blocks(x, weights, "visual.", act, causal=False)[:, 0]
    return normalize(norm(x, weights, "visual.ln_post") @ weights["visual.proj"])


def text_embedding(weights, ids: Tensor, act: str) -> Tensor:
    """Of unit length; read at the first token that ends a text."""
    x = weights["token_embedding.weight"][ids] + weights["positional_embedding"]
    x = norm(blocks(x, weights, "", act, causal=True), weights, "ln_final")
    ends = [row.tolist().index(len(weights["token_embedding.weight"]) - 1) for row in ids]
    return normalize(x[torch.arange(len(ids)), ends] @ weights["text_projection"])


def cosine(weights, pixels: Tensor, ids: Tensor, act: str) -> Tensor:
    images, texts = image_embedding(weights, pixels, act), text_embedding(weights, ids, act)
    return torch.einsum("bc,bc->b", images, texts)


def byte_tokens(texts: list[str], num: int = 77) -> Tensor:
    """What the tiny tokenizer makes of lower-case letters and spaces: a token a letter."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    rows = []
    for text in texts:
        row = [512]
        for word in text.split():
            row += [alphabet.index(letter) for letter in word]
            row[-1] += 256
        row = [*row[: num - 1], 513]
        rows.append(row + [513] * (num - len(row)))
    return torch.tensor(rows)
