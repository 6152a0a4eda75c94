"""HPSv2.1: which image people prefer for a prompt, learned from 798k choices.

Wu et al. 2023 (arXiv 2306.09341): CLIP-H, fine-tuned, published in open_clip's layout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import torch

from zoo.data.text_limit import TextLimit
from zoo.prompt import Prompt
from zoo.reward.base import Images, NetworkBytes, PerImage
from zoo.reward.networks.clip import LAION_CLIP_H, Clip, DType, choose_device, load_tokenizer
from zoo.reward.networks.clip_reward import ClipReward
from zoo.reward.networks.open_clip import clip_model
from zoo.reward.networks.pixels import padded_pixels
from zoo.reward.networks.published import tensors_of
from zoo.reward.networks.sizes import PUBLISHED_CLIP_H, pickled_bytes
from zoo.storage.place import Place

FILE = "HPS_v2.1_compressed.pt"
"""The file of weights in the published repository."""


class HPSv2(ClipReward):
    """HPSv2.1: the cosine of image and prompt, about 0.2 to 0.35.

    A CLIP-H, 986M parameters from the hub (2 GB, half precision). Images stay float tensors, as
    published: antialiased bicubic to 224 pixels at the longer side, black around; 77 tokens are
    read.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        weights: Place = "xswu/HPSv2",
        tokenizer: Place = LAION_CLIP_H,
        dtype: DType = "float32",
        run_on: str | None = None,
        offload: bool = False,
    ) -> None:
        """`weights` is a file HPS_v2.1_compressed.pt, or a repository of the hub that has it.

        `tokenizer` is a folder or a repository with CLIP's vocabulary. `run_on` is a device of its
        own (cpu, cuda:1); with `offload` the model leaves its device while nothing is scored. A
        pickle that holds more than tensors is refused.

        Raises:
            ValueError: weights or tokenizer cannot be had, or do not belong together.
        """
        home, words = choose_device(run_on, device), load_tokenizer(tokenizer)
        published = tensors_of(weights, FILE)
        model = clip_model(published.get("state_dict", published), weights)
        self._clip = Clip(model, words, home, dtype, offload=offload)

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """The cosine."""
        return self._cosine(images, [_plain(prompt.text) for prompt in prompts], padded_pixels)

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """CLIP's, of texts as it gets them.

        Raises:
            ValueError: the tokenizer cannot be had.
        """
        (limit,) = super().text_limits(options)
        return (replace(limit, count=lambda texts: limit.count([*map(_plain, texts)])),)

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes | None:
        """Those of the CLIP."""
        return pickled_bytes(options, FILE, PUBLISHED_CLIP_H)

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP in open_clip's layout and a tokenizer; gives their options."""
        from zoo.reward.networks.tiny_clip import write_open_clip

        write_open_clip(folder, FILE)
        return {"weights": str(folder / FILE), "tokenizer": str(folder)}


def _plain(text: str) -> str:
    """As open_clip's tokenizer reads it: it does this twice."""
    return unescape(unescape(text))
