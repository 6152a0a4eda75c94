"""ImageReward: how a person would rate an image for its prompt, learned from 137k comparisons.

Xu et al. 2023, arXiv 2304.05977. A BLIP whose text encoder reads the prompt and looks at the image;
five linear layers on its first token give the score. Runs on transformers' own BLIP (`blip.py`);
plugins/zoo-image-reward runs the published package, image-reward 1.5, which scores the same.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import Reward
from zoo.reward.blip import TINY, Network, Sizes, random_weights

FILE = "ImageReward.pt"
"""The file of weights in the published repository."""

# ImageReward/ImageReward.py of image-reward 1.5.
_NUM_TOKENS = 35
_PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
_PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
# 1 in PIL's fixed point (Resample.c, PRECISION_BITS).
_ONE = 2.0**22


class ImageReward(Reward):
    """ImageReward v1.0: how well people would like an image for its prompt.

    No bounds: the score is shifted and scaled to be about 0 on average, with a deviation of 1. An
    image is resized to 224 pixels at its shorter side and cropped to the square in its middle; of
    a prompt the first 35 tokens are read. A ViT-L and a BERT, 446M parameters, from the hub
    (1.8 GB) unless `weights` is a file.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        weights: str = "THUDM/ImageReward",
        tokenizer: str = "google-bert/bert-base-uncased",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        """`weights` is a file ImageReward.pt, or a repository of the hub that has it.

        `tokenizer` is a folder or a repository with BERT's vocabulary; `dtype` is of the BLIP (the
        layers after it are float32). A pickle that holds more than tensors is refused.

        Raises:
            ValueError: weights or tokenizer cannot be had, or do not belong together.
        """
        published = _published(weights)
        self._device = device
        self._sizes = Sizes.of(published, weights)
        self._network = Network(self._sizes)
        self._network.take(published, weights)
        self._network.place(device, getattr(torch, dtype))
        self._tokenizer = _tokenizer(tokenizer)
        if len(self._tokenizer) != self._sizes.num_words:
            raise ValueError(
                f"the tokenizer {tokenizer!r} has {len(self._tokenizer)} tokens, with [DEC] and "
                f"[ENC], and the weights {weights!r} are of {self._sizes.num_words}; the published "
                "weights want tokenizer: google-bert/bert-base-uncased"
            )

    @torch.no_grad()
    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """The published score; images are rounded to 8 bits."""
        tokens = self._tokenizer(
            [prompt.text for prompt in prompts],
            padding="max_length",
            truncation=True,
            max_length=_NUM_TOKENS,
            return_tensors="pt",
        )
        ids, mask = (tokens[name].to(self._device) for name in ("input_ids", "attention_mask"))
        pixels = normalised(images.to(self._device), self._sizes.image)
        scores: Tensor = self._network(ids, mask, pixels)
        return scores.to(images.device)

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random model of 0.5M parameters; gives the options that load it."""
        return write_random(folder, TINY)


def normalised(
    images: Float[Tensor, "batch 3 height width"], size: int
) -> Float[Tensor, "batch 3 size size"]:
    """Images in [0, 1] as the package feeds them: PIL's bicubic, a crop, CLIP's statistics."""
    height, width = images.shape[-2:]
    short = min(height, width)
    tall, wide = int(size * height / short), int(size * width / short)
    pixels = (images.float() * 255.0).round().clamp(0.0, 255.0).double()
    pixels = _eight_bits(pixels @ _kernel(width, wide).to(images.device).T)
    pixels = _eight_bits(_kernel(height, tall).to(images.device) @ pixels)
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    cropped = pixels[..., top : top + size, left : left + size].float() / 255.0
    mean, std = (torch.tensor(s, device=images.device) for s in (_PIXEL_MEAN, _PIXEL_STD))
    return (cropped - mean[:, None, None]) / std[:, None, None]


def write_random(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Writes random weights and a vocabulary in the published layout; gives the options.

    The weights' scales keep scores apart: of other images and of other prompts.
    """
    from transformers import BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    torch.save(random_weights(sizes), folder / FILE)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    # [DEC] and [ENC] are the last two.
    words += [f"[unused{i}]" for i in range(sizes.num_words - 2 - len(words))]
    vocabulary = {word: i for i, word in enumerate(words)}
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return {"weights": str(folder / FILE), "tokenizer": str(folder)}


def _published(weights: str) -> dict[str, Tensor]:
    from huggingface_hub import hf_hub_download

    path = Path(weights)
    try:
        file = weights if path.is_file() else hf_hub_download(weights, FILE)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the weights {weights!r} are no file here and cannot be had from the hub: "
            f"{_line(error)}; name a file {FILE}, or a repository that has it"
        ) from error
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"the weights {weights!r} are no file of tensors that can be read: {_line(error)}"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"the weights {weights!r} hold a {type(found).__name__}, not tensors")
    return found


def _tokenizer(source: str) -> Any:
    from transformers import BertTokenizer

    try:
        tokenizer = BertTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the tokenizer {source!r} is no folder here and cannot be had from the hub: "
            f"{_line(error)}; name a folder or a repository with BERT's vocabulary"
        ) from error
    # transformers makes one of its five special tokens where it finds no files.
    if len(tokenizer) == len(tokenizer.all_special_ids):
        raise ValueError(
            f"the tokenizer {source!r} has no vocabulary, here or on the hub; "
            "name a folder or a repository with BERT's vocabulary"
        )
    # BLIP's two further tokens: the weights have a row for each, and a prompt may spell them.
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return tokenizer


@cache
def _kernel(before: int, after: int) -> Float[Tensor, "after before"]:
    """PIL's bicubic (a = -0.5) in one direction, widened to the scale: whole numbers of 2^-22.

    Their sums with pixels are whole too, and exact in float64: PIL's own result, on any device,
    even where a smooth image lies half-way between two levels.
    """
    scale = before / after
    centre = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    x = (torch.arange(before, dtype=torch.float64) - centre[:, None] + 0.5).abs() / max(scale, 1.0)
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    weight = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    weight = weight / weight.sum(dim=1, keepdim=True) * _ONE
    return weight.sign() * (weight.abs() + 0.5).floor()


def _eight_bits(sums: Tensor) -> Tensor:
    return ((sums + _ONE / 2) / _ONE).floor().clamp(0.0, 255.0)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
