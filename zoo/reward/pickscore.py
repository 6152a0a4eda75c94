"""PickScore: which of two images people picked, learned from half a million choices.

Kirstain et al. 2023 (arXiv 2305.01569): CLIP-H, fine-tuned on Pick-a-Pic.
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
from zoo.reward.networks.pixels import clip_pixels
from zoo.reward.networks.sizes import clip_bytes
from zoo.storage.place import Place

_SCALE = 26.0


class PickScore(ClipReward):
    """PickScore v1 by 26: about 0.8 to 0.9; tables in papers show it before it is divided.

    The logit of image and prompt under a CLIP-H, 986M parameters from the hub (3.9 GB). Images are
    resized as PIL does, to 224 pixels at the shorter side, and cropped; 77 tokens are read.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        model: Place = "yuvalkirstain/PickScore_v1",
        tokenizer: Place = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
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
        self._clip = Clip(network, load_tokenizer(tokenizer), home, dtype, offload=offload)

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """The logit by 26."""
        cosine = self._cosine(images, [prompt.text for prompt in prompts], clip_pixels)
        return self._clip.scale * cosine / _SCALE

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes | None:
        """Those of the CLIP."""
        return clip_bytes(options)

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP and a tokenizer that spells; gives the options that load them."""
        from zoo.reward.networks.tiny_clip import write

        write(folder, "gelu")
        return {"model": str(folder), "tokenizer": str(folder)}


def _require_laions(network: Any, source: str) -> None:
    """Refuses OpenAI's CLIPs, which would score, and mean something else."""
    activations = {
        part.hidden_act for part in (network.config.text_config, network.config.vision_config)
    }
    if activations != {"gelu"}:
        raise ValueError(
            f"the model {source!r} is not made from LAION's CLIP-H, as PickScore is: its "
            f"activation is {' and '.join(sorted(activations))}, not gelu; the published one is "
            "model: yuvalkirstain/PickScore_v1 (name: clipscore takes other CLIPs)"
        )
