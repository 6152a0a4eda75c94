"""CLIP on transformers: a network in transformers' layout, and how well images and texts agree.

Radford et al. 2021, arXiv 2103.00020.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from zoo.prompt import Prompt
from zoo.reward import hub
from zoo.reward.clip_tokens import Tokens
from zoo.reward.resident import Resident


class Clip:
    """Both towers of a CLIP on their device, with its tokenizer."""

    def __init__(self, home: Resident, tokens: Tokens) -> None:
        """`home` is of a CLIPModel."""
        self._home = home
        self._tokens = tokens

    @torch.no_grad()
    def cosine(
        self, pixels: Float[Tensor, "batch 3 size size"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """Of the embeddings of each image and its prompt, in float32, on the pixels' device."""
        network: Any = self._home.wake()
        ids = self._tokens(prompts).to(self._home.device)
        seen = network.get_image_features(pixels.to(self._home.device, network.dtype)).pooler_output
        read = network.get_text_features(ids).pooler_output
        # Not cosine_similarity, whose rounding is not that of the published products.
        cosines = (normalize(seen.float()) * normalize(read.float())).sum(dim=1)
        return cosines.to(pixels.device)

    def rest(self) -> None:
        """As `Reward.rest`."""
        self._home.rest()


def load(source: str, *, fix: str) -> Any:
    """A CLIPModel with its weights in float32, on the CPU; `source` is a folder or on the hub.

    `fix` names a model that is right.

    Raises:
        ValueError: it cannot be had, is not whole, or is no CLIP.
    """
    from transformers import CLIPModel

    _require_clip(source, fix)
    try:
        network, found = CLIPModel.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True
        )
    # Broken files raise what the library that reads them raises.
    except Exception as error:
        raise hub.refusal("model", source, error, fix=fix) from error
    if missing := sorted(found["missing_keys"]):
        # transformers would leave them random.
        raise ValueError(
            f"the model {source!r} is not whole: its weights have no {missing[0]!r} "
            f"({len(missing)} missing); {fix}"
        )
    return network


def image_size(network: Any) -> int:
    """The side of the images that a CLIPModel looks at, in pixels."""
    return int(network.config.vision_config.image_size)


def _require_clip(source: str, fix: str) -> None:
    if (Path(source) / "model_index.json").is_file():
        raise ValueError(f"the model {source!r} is a diffusers pipeline, not a CLIP; {fix}")
    config = hub.file("model", source, "config.json", fix=fix)
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"the model {source!r} has a config.json that cannot be read: {hub.line(error)}; {fix}"
        ) from error
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind != "clip":
        raise ValueError(
            f"the model {source!r} is of the kind {kind!r}, not a CLIP with both towers; {fix}"
        )
