"""PickScore: which image people would pick for a prompt, learned from half a million choices.

Kirstain et al. 2023, arXiv 2305.01569: CLIP's cosine and temperature after training on Pick-a-Pic.
Divided by 26, as in Flow-GRPO's and DiffusionNFT's code (pickscore_scorer.py); published tables
multiply by it again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward import clip_model, tiny_clip
from zoo.reward.base import Reward
from zoo.reward.clip_tokens import Tokens
from zoo.reward.pil_resize import square, transformers_margin
from zoo.reward.resident import Resident, own_device

# Flow-GRPO's, for scores of at most about 1.
_DIVISOR = 26.0

_FIX = "the published one is model: yuvalkirstain/PickScore_v1"
_FIX_TOKENIZER = "the published one is tokenizer: laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


class PickScore(Reward):
    """PickScore v1 / 26: which of several images people would pick for a prompt.

    Stable Diffusion 3.5 Medium has 0.79, and 0.92 after training for it (DiffusionNFT). An image is
    resized to 224 pixels at its shorter side and cropped to the square in its middle; of a prompt
    the first 77 tokens are read. A ViT-H/14, 986M parameters, from the hub (3.9 GB) unless `model`
    is a folder.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        model: str = "yuvalkirstain/PickScore_v1",
        tokenizer: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        model_device: str | None = None,
        offload: bool = False,
    ) -> None:
        """`model` is a CLIP-H in transformers' layout: a folder, or a repository of the hub.

        `tokenizer` is a folder or a repository with its vocabulary. `model_device`, as "cpu" or
        "cuda:1", is another device than the run's. With `offload` the model waits in the CPU's
        memory while the run trains.

        Raises:
            ValueError: the model or the tokenizer cannot be had, is of another kind, or the two do
                not belong together; there is no such device.
        """
        home = own_device(model_device, device)
        network = clip_model.load(model, fix=_FIX)
        _require_laions(network, model)
        tokens = Tokens(tokenizer, network.config.text_config, fix=_FIX_TOKENIZER)
        self._size = clip_model.image_size(network)
        # In float32: 100 is 99 in bfloat16.
        self._scale: float = network.logit_scale.exp().item()
        resident = Resident(network, home, getattr(torch, dtype), offload=offload)
        self._clip = clip_model.Clip(resident, tokens)

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """The published score / 26; images are rounded to 8 bits."""
        pixels = square(images, self._size, transformers_margin)
        return self._scale * self._clip.cosine(pixels, prompts) / _DIVISOR

    def rest(self) -> None:
        """Leaves the device, with `offload`."""
        self._clip.rest()

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP of 0.6M parameters; gives the options that load it."""
        tiny_clip.network(head=80, activation="gelu").save_pretrained(folder)
        tiny_clip.write_tokenizer(folder)
        return {"model": str(folder), "tokenizer": str(folder)}


def _require_laions(network: Any, source: str) -> None:
    """Refuses OpenAI's CLIPs, which would score, and mean something else."""
    config = network.config
    found = {config.vision_config.hidden_act, config.text_config.hidden_act}
    if found != {"gelu"}:
        raise ValueError(
            f"the model {source!r} is not made from LAION's CLIP-H, as PickScore is: its "
            f"activation is {' and '.join(sorted(found))}, not gelu; {_FIX} (name: clipscore takes "
            "other CLIPs)"
        )
