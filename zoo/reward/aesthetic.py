"""LAION's aesthetic predictor: how much people like an image, whatever its prompt.

Schuhmann 2022, improved-aesthetic-predictor: five linear layers on CLIP-L's image embedding, with
nothing between them that is at work once they are trained.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import join_lines
from zoo.prompt import Prompt
from zoo.reward.base import Images, NetworkBytes, PerImage
from zoo.reward.networks.clip import OPENAI_CLIP_L, Clip, DType, choose_device, load_clip
from zoo.reward.networks.clip_reward import ClipReward
from zoo.reward.networks.pixels import clip_pixels
from zoo.reward.networks.published import tensors_of
from zoo.reward.networks.sizes import clip_bytes
from zoo.storage.place import Place

FILE = "aesthetic-model.pth"
"""The file of weights in the hub's repository, sac+logos+ava1-l14-linearMSE.pth by another name."""

# Dropout stands between the others.
LAYERS = ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")


class Aesthetic(ClipReward):
    """LAION's aesthetic predictor (sac+logos+ava1-l14): about 1 to 10, good images 5 to 7.

    CLIP-L, 428M parameters from the hub (1.7 GB), and an MLP. Images are resized as PIL does, to
    224 pixels at the shorter side, and cropped. Prompts are not read.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        model: Place = OPENAI_CLIP_L,
        weights: Place = "trl-lib/ddpo-aesthetic-predictor",
        dtype: DType = "float32",
        run_on: str | None = None,
        offload: bool = False,
    ) -> None:
        """`model` is a folder or a repository of the hub with the CLIP.

        `weights` is the file sac+logos+ava1-l14-linearMSE.pth of the predictor's own repository on
        GitHub, or a repository of the hub with it as aesthetic-model.pth. `run_on` is a device of
        its own (cpu, cuda:1); with `offload` the CLIP leaves its device while nothing is scored.

        Raises:
            ValueError: model or weights cannot be had, or do not belong together.
        """
        self._clip = Clip(
            load_clip(model), None, choose_device(run_on, device), dtype, offload=offload
        )
        self._head = _head(tensors_of(weights, FILE), weights, self._clip.width)
        self._head.to(self._clip.device)

    @torch.no_grad()
    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """The predicted rating."""
        scores: Tensor = self._head(self._embed(images, clip_pixels))[:, 0]
        return scores.to(images.device)

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes | None:
        """Those of the CLIP's image encoder; the MLP is small."""
        return clip_bytes(options, texts=False)

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP and a random MLP; gives the options that load them."""
        from zoo.reward.networks.tiny_clip import write, write_head

        write(folder)
        write_head(folder / FILE, LAYERS)
        return {"model": str(folder), "weights": str(folder / FILE)}


def _head(weights: Mapping[str, Any], source: str, width: int) -> nn.Sequential:
    """The layers, each as wide as its weights say; they make one linear map."""
    try:
        shapes = [weights[f"{name}.weight"].shape for name in LAYERS]
        # Random weights would draw from the run's own generator.
        with torch.device("meta"):
            head = nn.Sequential(*(nn.Linear(into, out) for out, into in shapes))
        for layer, name in zip(head, LAYERS, strict=True):
            parts = {part: weights[f"{name}.{part}"].float() for part in ("weight", "bias")}
            layer.load_state_dict(parts, assign=True)
    except (KeyError, AttributeError, ValueError, RuntimeError) as error:
        reason = join_lines(error)[:200]
        raise ValueError(
            f"the weights {source!r} are not of the aesthetic predictor ({reason}); name the file "
            f"sac+logos+ava1-l14-linearMSE.pth, which has {', '.join(LAYERS)}"
        ) from error
    if shapes[0][1] != width:
        raise ValueError(
            f"the weights {source!r} take embeddings of {shapes[0][1]} and the model's are of "
            f"{width}; the published ones want model: {OPENAI_CLIP_L}"
        )
    return head.eval().requires_grad_(False)
