"""PickScore: which of two images people picked, learned from half a million choices.

Kirstain et al. 2023 (arXiv 2305.01569): CLIP-H, fine-tuned on Pick-a-Pic.
"""

from typing import Any

import torch

from zoo.reward.networks.clip import (
    LAION_CLIP_H,
    PICKSCORE,
    Clip,
    DType,
    choose_device,
    load_clip,
    load_tokenizer,
)
from zoo.reward.networks.clip_reward import LogitReward
from zoo.reward.networks.pixels import clip_pixels
from zoo.storage.place import Place

_SCALE = 26.0


class PickScore(LogitReward):
    """PickScore v1 by 26: about 0.8 to 0.9; tables in papers show it before it is divided.

    The logit of image and prompt under a CLIP-H, 986M parameters from the hub (3.9 GB). Images are
    resized as PIL does, to 224 pixels at the shorter side, and cropped; 77 tokens are read.
    """

    activation = "gelu"

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        model: Place = PICKSCORE,
        tokenizer: Place = LAION_CLIP_H,
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
        home, network = choose_device(run_on, device), load_clip(model)
        _require_laions(network, model)
        clip = Clip(network, load_tokenizer(tokenizer), home, dtype, offload=offload)
        super().__init__(clip, clip_pixels, _SCALE)


def _require_laions(network: Any, source: str) -> None:
    """Refuses OpenAI's CLIPs, which would score, and mean something else."""
    activations = {
        part.hidden_act for part in (network.config.text_config, network.config.vision_config)
    }
    if activations != {"gelu"}:
        raise ValueError(
            f"the model {source!r} is not made from LAION's CLIP-H, as PickScore is: its "
            f"activation is {' and '.join(sorted(activations))}, not gelu; the published one is "
            f"model: {PICKSCORE} (name: clipscore takes other CLIPs)"
        )
