"""CLIPScore: how well an image and its prompt agree, by CLIP.

Hessel et al. 2021 (arXiv 2104.08718), in the field's form: the cosine alone, on
openai/clip-vit-large-patch14, as Flow-GRPO's and DiffusionNFT's code has it.
"""

import torch

from zoo.reward.networks.clip import (
    OPENAI_CLIP_L,
    Clip,
    DType,
    choose_device,
    load_clip,
    load_tokenizer,
)
from zoo.reward.networks.clip_reward import LogitReward
from zoo.reward.networks.pixels import float_pixels
from zoo.storage.place import Place

_LOGIT = 100.0


class ClipScore(LogitReward):
    """The cosine of image and prompt under CLIP-L: about 0.2 to 0.3.

    428M parameters from the hub (1.7 GB). Images stay float tensors, as published: antialiased
    bilinear to 224 pixels at the shorter side, and cropped; 77 tokens are read.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        model: Place = OPENAI_CLIP_L,
        tokenizer: Place = OPENAI_CLIP_L,
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
        clip = Clip(
            load_clip(model), load_tokenizer(tokenizer), choose_device(run_on, device), dtype,
            offload=offload,
        )  # fmt: skip
        super().__init__(clip, float_pixels, _LOGIT)
