"""Random CLIPs of the published layouts, small: to try rewards on. What they score is noise.

The weights' scales keep scores apart: of other images and of other prompts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from zoo import seeds
from zoo.reward.networks.clip import Activation
from zoo.reward.networks.open_clip import open_clip_layout

# Of an embedding.
_WIDTH = 64
# Two heads each, of the widths that a ViT-H has.
_TEXT_WIDTH, _VISION_WIDTH = 2 * 64, 2 * 80
_START, _END = "<|startoftext|>", "<|endoftext|>"


def write(folder: Path, activation: Activation = "quick_gelu") -> None:
    """A CLIP in transformers' layout, and a tokenizer that spells every word out."""
    words = _tokenizer()
    words.save_pretrained(folder)
    _model(words, activation).save_pretrained(folder)


def write_open_clip(folder: Path, name: str) -> None:
    """A CLIP in open_clip's layout in a file of that name, and a tokenizer."""
    words = _tokenizer()
    words.save_pretrained(folder)
    model = _model(words, "gelu")
    torch.save({"state_dict": open_clip_layout(model)}, folder / name)


def write_head(file: Path, layers: Sequence[str]) -> None:
    """Linear layers of these names on an embedding of such a CLIP, the last with one output."""
    widths = [_WIDTH, 32, 16, 8, 4, 1]
    tensors = {}
    with seeds.borrowed(1, "tiny clip"):
        for name, into, out in zip(layers, widths, widths[1:], strict=False):
            tensors[f"{name}.weight"] = 2 * torch.randn(out, into) / into**0.5
            tensors[f"{name}.bias"] = torch.randn(out)
    torch.save(tensors, file)


def _tokenizer() -> Any:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    # All bytes: what is not in the vocabulary would end the text.
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _model(words: Any, activation: Activation) -> Any:
    from transformers import CLIPConfig, CLIPModel

    text = {
        "vocab_size": len(words),
        "hidden_size": _TEXT_WIDTH,
        "intermediate_size": _TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "hidden_act": activation,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    vision = {
        "hidden_size": _VISION_WIDTH,
        "intermediate_size": _VISION_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "hidden_act": activation,
    }
    with seeds.borrowed(0, "tiny clip"):
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=_WIDTH))
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                # Words are looked at, not only averaged: else all prompts score nearly the same.
                gain = 3.0 if "q_proj" in name or "k_proj" in name else 1.0
                # A row of an embedding is one input; other rows are sums over many.
                inputs = 1 if name.endswith("n_embedding.weight") else parameter[0].numel()
                parameter.data = gain * torch.randn_like(parameter) / inputs**0.5
    return model
