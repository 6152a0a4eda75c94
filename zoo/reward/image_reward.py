"""ImageReward: how a person would rate an image for its prompt, learned from 137k comparisons.

Xu et al. 2023, arXiv 2304.05977. A BLIP whose text encoder reads the prompt and looks at the image;
five linear layers on its first token give the score. Runs on transformers' own BLIP (`blip.py`);
plugins/zoo-image-reward runs the published package, image-reward 1.5, which scores the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.data.text_limit import TextLimit, counted_by
from zoo.devices import send
from zoo.errors import first_line
from zoo.prompt import Prompt
from zoo.reward.base import Images, NetworkBytes, PerImage, Reward
from zoo.reward.networks.blip import (
    FULL,
    TINY,
    Network,
    Sizes,
    num_parameters,
    random_weights,
)
from zoo.reward.networks.pixels import centre, pil_bicubic, shorter_side, standard
from zoo.reward.networks.published import tensors_of
from zoo.reward.networks.sizes import pickled_bytes
from zoo.storage.hub import Request
from zoo.storage.place import Place

FILE = "ImageReward.pt"
"""The file of weights in the published repository."""

# ImageReward/ImageReward.py of image-reward 1.5.
_NUM_TOKENS = 35


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
        weights: Place = "THUDM/ImageReward",
        tokenizer: Place = "google-bert/bert-base-uncased",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        """`weights` is a file ImageReward.pt, or a repository of the hub that has it.

        `tokenizer` is a folder or a repository with BERT's vocabulary; `dtype` is of the BLIP (the
        layers after it are float32). A pickle that holds more than tensors is refused.

        Raises:
            ValueError: weights or tokenizer cannot be had, or do not belong together.
        """
        published = tensors_of(weights, FILE)
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
    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """The published score; images are rounded to 8 bits."""
        tokens = self._tokenizer(
            [prompt.text for prompt in prompts],
            padding="max_length",
            truncation=True,
            max_length=_NUM_TOKENS,
            return_tensors="pt",
        )
        ids, mask = (send(tokens[name], self._device) for name in ("input_ids", "attention_mask"))
        pixels = normalise(images.to(self._device), self._sizes.image)
        scores: Tensor = self._network(ids, mask, pixels)
        return scores.to(images.device)

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """BLIP's.

        Raises:
            ValueError: the tokenizer cannot be had.
        """
        return (TextLimit("BLIP", _NUM_TOKENS, counted_by(_tokenizer(options["tokenizer"]))),)

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes | None:
        """Those of the BLIP and the MLP."""
        return pickled_bytes(options, FILE, num_parameters(FULL))

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random model of 0.5M parameters; gives the options that load it."""
        return write_random(folder, TINY)


def normalise(images: Images, size: int) -> Float[Tensor, "batch 3 size size"]:
    """Images in [0, 1] as the package feeds them: PIL's bicubic, a crop, CLIP's statistics."""
    return standard(centre(pil_bicubic(images, *shorter_side(images, size)), size))


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


def _tokenizer(source: str) -> Any:
    from transformers import BertTokenizer

    try:
        tokenizer = BertTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the tokenizer {source!r} is no folder here and cannot be had from the Hub: "
            f"{Request(source).refusal(error) or first_line(error)}; name a folder or a "
            "repository with BERT's vocabulary"
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
