"""CLIPScore: how well an image and its prompt agree, by CLIP.

Hessel et al. 2021 (arXiv 2104.08718), in the field's form: the cosine alone, on
openai/clip-vit-large-patch14, as Flow-GRPO's and DiffusionNFT's code has it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import NetworkBytes
from zoo.reward.networks.clip import Clip, DType, choose_device, load_clip, load_tokenizer
from zoo.reward.networks.clip_reward import ClipReward
from zoo.reward.networks.pixels import float_pixels
from zoo.reward.networks.sizes import clip_bytes
from zoo.storage.place import Place

_PUBLISHED = "openai/clip-vit-large-patch14"
_LOGIT = 100.0


class ClipScore(ClipReward):
    """The cosine of image and prompt under CLIP-L: about 0.2 to 0.3.

    428M parameters from the hub (1.7 GB). Images stay float tensors, as published: antialiased
    bilinear to 224 pixels at the shorter side, and cropped; 77 tokens are read.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        model: Place = _PUBLISHED,
        tokenizer: Place = _PUBLISHED,
        dtype: DType = "float32",
        run_on: str | None = None,
        offload: bool = False,
    ) -> None:
        """`model` and `tokenizer` are folders or repositories of the hub.

        `run_on` is a device of its own (cpu, cuda:1); with `offload` the model leaves its device
        while nothing is scored.

        Raises:
            ValueError: model or tokenizer cannot be had, or do not belong together.
        """
        self._clip = Clip(
            load_clip(model), load_tokenizer(tokenizer), choose_device(run_on, device), dtype,
            offload=offload,
        )  # fmt: skip

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """The logit by 100."""
        cosine = self._cosine(images, [prompt.text for prompt in prompts], float_pixels)
        return self._clip.scale * cosine / _LOGIT

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes | None:
        """Those of the CLIP."""
        return clip_bytes(options)

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP and a tokenizer that spells; gives the options that load them."""
        from zoo.reward.networks.tiny_clip import write

        write(folder)
        return {"model": str(folder), "tokenizer": str(folder)}
