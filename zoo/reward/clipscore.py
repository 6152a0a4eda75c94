"""CLIPScore: how well an image fits its prompt by OpenAI's CLIP, which learned from captions.

Radford et al. 2021, arXiv 2103.00020; Hessel et al. 2021, arXiv 2104.08718. As a reward in the form
and scale of Flow-GRPO's and DiffusionNFT's code (clip_scorer.py): the logit / 100 of
openai/clip-vit-large-patch14, which is the cosine, not 2.5 max(cosine, 0). As there, images are not
rounded to 8 bits, and are resized with an antialiased bilinear filter, not CLIP's own bicubic.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from zoo.prompt import Prompt
from zoo.reward import clip_model, tiny_clip
from zoo.reward.base import Reward
from zoo.reward.clip_tokens import Tokens
from zoo.reward.pil_resize import centre_crop, normalised, shorter_side, torchvision_margin
from zoo.reward.resident import Resident, own_device

_FIX = "name a folder or a repository of a CLIP, as openai/clip-vit-large-patch14"


class ClipScore(Reward):
    """CLIPScore: how well an image fits its prompt, as the cosine of CLIP's embeddings.

    From -1 to 1; Stable Diffusion 3.5 Medium has 0.24, with guidance 0.29 (DiffusionNFT). An image
    is resized to 224 pixels at its shorter side and cropped to the square in its middle; of a
    prompt the first 77 tokens are read. A ViT-L/14, 428M parameters, from the hub (1.7 GB) unless
    `model` is a folder.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        model: str = "openai/clip-vit-large-patch14",
        tokenizer: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        model_device: str | None = None,
        offload: bool = False,
    ) -> None:
        """`model` is a CLIP in transformers' layout: a folder, or a repository of the hub.

        `tokenizer` is a folder or a repository with its vocabulary, by default `model`'s own.
        `model_device`, as "cpu" or "cuda:1", is another device than the run's. With `offload` the
        model waits in the CPU's memory while the run trains.

        Raises:
            ValueError: the model or the tokenizer cannot be had, is of another kind, or the two do
                not belong together; there is no such device.
        """
        home = own_device(model_device, device)
        network = clip_model.load(model, fix=_FIX)
        tokens = Tokens(tokenizer or model, network.config.text_config, fix=_FIX)
        self._size = clip_model.image_size(network)
        resident = Resident(network, home, getattr(torch, dtype), offload=offload)
        self._clip = clip_model.Clip(resident, tokens)

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """The cosine of each image and its prompt."""
        return self._clip.cosine(bilinear_square(images, self._size), prompts)

    def rest(self) -> None:
        """Leaves the device, with `offload`."""
        self._clip.rest()

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP of 0.5M parameters; gives the options that load it."""
        tiny_clip.network(head=64, activation="quick_gelu").save_pretrained(folder)
        tiny_clip.write_tokenizer(folder)
        return {"model": str(folder)}


def bilinear_square(
    images: Float[Tensor, "batch 3 height width"], size: int
) -> Float[Tensor, "batch 3 {size} {size}"]:
    """As torchvision resizes and crops a tensor: bilinear, widened to the scale, in float32."""
    resized = interpolate(
        images.float(),
        shorter_side(images.shape[-2], images.shape[-1], size),
        mode="bilinear",
        antialias=True,
    )
    return normalised(centre_crop(resized, size, torchvision_margin))
