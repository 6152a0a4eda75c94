"""HPSv2.1: which image people would prefer for a prompt, learned from 800k choices.

Wu et al. 2023, arXiv 2306.09341; the cosine, as its package (hpsv2/img_score.py) and Flow-GRPO's
hpsv2_scorer.py give it. As there, the longer side is resized, with torch's antialiased bicubic
filter, and the rest filled with black. Departs from it: runs in one dtype, not under autocast;
prompts are not repaired by ftfy.
"""

from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from zoo.prompt import Prompt
from zoo.reward import clip_model, hub, open_clip, tiny_clip
from zoo.reward.base import Reward
from zoo.reward.clip_tokens import Tokens
from zoo.reward.pil_resize import eight_bits, normalised
from zoo.reward.resident import Resident, own_device

FILE = "HPS_v2.1_compressed.pt"
"""The file of weights in the published repository."""

_FIX = f"name a file {FILE}, or a repository that has it, as xswu/HPSv2"
_FIX_TOKENIZER = "the published one is tokenizer: laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


class HPSv2(Reward):
    """HPSv2.1: which of several images people would prefer for a prompt.

    A cosine, from -1 to 1; Stable Diffusion 3.5 Medium has 0.20, with guidance 0.28, and 0.33 after
    training for it among others (DiffusionNFT). An image is resized to 224 pixels at its longer
    side, on black; of a prompt the first 77 tokens are read. A ViT-H/14, 986M parameters, from the
    hub unless `weights` is a file.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        weights: str = "xswu/HPSv2",
        tokenizer: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        model_device: str | None = None,
        offload: bool = False,
    ) -> None:
        """`weights` is a file HPS_v2.1_compressed.pt, or a folder or repository that has it.

        `tokenizer` is a folder or a repository with CLIP's vocabulary. `model_device`, as "cpu" or
        "cuda:1", is another device than the run's. With `offload` the model waits in the CPU's
        memory while the run trains. A pickle that holds more than tensors is refused.

        Raises:
            ValueError: weights or tokenizer cannot be had, are of another kind, or do not belong
                together; there is no such device.
        """
        home = own_device(model_device, device)
        network = open_clip.network(_published(weights), weights, fix=_FIX)
        tokens = Tokens(tokenizer, network.config.text_config, fix=_FIX_TOKENIZER)
        self._size = clip_model.image_size(network)
        resident = Resident(network, home, getattr(torch, dtype), offload=offload)
        self._clip = clip_model.Clip(resident, tokens)

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """The published score; images are rounded to 8 bits."""
        # open_clip's tokenizer does so, twice.
        plain = [Prompt(unescape(unescape(prompt.text))) for prompt in prompts]
        return self._clip.cosine(on_black(images, self._size), plain)

    def rest(self) -> None:
        """Leaves the device, with `offload`."""
        self._clip.rest()

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP of 0.6M parameters; gives the options that load it."""
        folder.mkdir(parents=True, exist_ok=True)
        state = tiny_clip.network(head=80, activation="gelu").state_dict()
        torch.save({"state_dict": open_clip.published(state)}, folder / FILE)
        tiny_clip.write_tokenizer(folder)
        return {"weights": str(folder / FILE), "tokenizer": str(folder)}


def on_black(
    images: Float[Tensor, "batch 3 height width"], size: int
) -> Float[Tensor, "batch 3 {size} {size}"]:
    """As the package resizes a tensor: the whole image, not clamped, in the middle of a square."""
    longer = max(images.shape[-2:])
    height, width = (max(1, round(side * size / longer)) for side in images.shape[-2:])
    pixels = eight_bits(images)
    if longer != size:
        pixels = interpolate(pixels, (height, width), mode="bicubic", antialias=True)
    top, left = (size - height) // 2, (size - width) // 2
    padded = pad(pixels, (left, size - width - left, top, size - height - top))
    return normalised(padded)


def _published(weights: str) -> dict[str, Tensor]:
    found = hub.tensors("weights", weights, hub.file("weights", weights, FILE, fix=_FIX))
    if "state_dict" not in found:
        raise ValueError(
            f"the weights {weights!r} are not HPSv2's: they have no state_dict; {_FIX}"
        )
    return hub.only_tensors("weights", weights, found["state_dict"])
