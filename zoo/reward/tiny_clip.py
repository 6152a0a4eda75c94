"""Random CLIPs of 0.5M parameters in the published layouts: for tests and `--tiny`."""

from math import log, prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.seeds import borrowed

# Two bytes' alphabets, one for the end of a word, and the start and the end of a text.
_NUM_WORDS = 2 * 256 + 2
_START, _END = "<|startoftext|>", "<|endoftext|>"


def network(*, head: int, activation: Literal["gelu", "quick_gelu"]) -> Any:
    """A CLIPModel whose scores of other images and of other prompts are apart.

    `head` is the width of a head in the image tower: 80 of a ViT-H, 64 of all others.
    """
    from transformers import CLIPConfig, CLIPModel

    # Two heads and two layers in each tower.
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": activation}
    config = CLIPConfig(
        text_config={
            **sizes,
            "vocab_size": _NUM_WORDS,
            "hidden_size": 128,
            "intermediate_size": 128,
            "max_position_embeddings": 77,
            "bos_token_id": _NUM_WORDS - 2,
            "eos_token_id": _NUM_WORDS - 1,
            "pad_token_id": _NUM_WORDS - 1,
        },
        vision_config={
            **sizes,
            "hidden_size": 2 * head,
            "intermediate_size": 2 * head,
            "image_size": 28,
            "patch_size": 7,
        },
        projection_dim=32,
    )
    with borrowed(0, "tiny_clip"):
        made = CLIPModel(config)
        made.load_state_dict({name: _random(name, v) for name, v in made.state_dict().items()})
    return made


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of bytes in the published layout: every text has tokens, one a byte."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(f"{letter}</w>" for letter in alphabet), _START, _END]
    vocabulary = {word: i for i, word in enumerate(words)}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)


def _random(name: str, like: Tensor) -> Tensor:
    noise = torch.randn_like(like)
    if name == "logit_scale":
        # As CLIP's is after training.
        return torch.tensor(log(100.0))
    if like.ndim == 1 and "class_embedding" not in name:
        return 1.0 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    if "embedding" in name and "patch" not in name:
        return noise
    # Words are looked at, not only averaged: else all prompts score nearly the same.
    gain = 3.0 if "q_proj" in name or "k_proj" in name else 1.0
    return gain * noise / float(prod(like.shape[1:]) ** 0.5)
