"""LAION's aesthetic predictor: how much people would like an image, whatever its prompt.

Schuhmann 2022, improved-aesthetic-predictor (sac+logos+ava1-l14-linearMSE.pth): five linear layers
without activations on CLIP's normalised image embedding. Black et al. 2023 (DDPO, arXiv 2305.13301)
trained with it. That file is on the hub as aesthetic-model.pth of trl-lib/ddpo-aesthetic-predictor,
which TRL's DDPO script reads into the same layers; the two files' equality was not measured here.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from zoo.prompt import Prompt
from zoo.reward import clip_model, hub, tiny_clip
from zoo.reward.base import Reward
from zoo.reward.pil_resize import square, transformers_margin
from zoo.reward.resident import Resident, own_device
from zoo.seeds import borrowed

FILE = "aesthetic-model.pth"
"""The file of weights in the published repository."""

_FIX = "the published one is model: openai/clip-vit-large-patch14"
_FIX_WEIGHTS = "the published ones are weights: trl-lib/ddpo-aesthetic-predictor"
# Dropout is between the others, and counts in the published names.
_LAYERS = (0, 2, 4, 6, 7)


class Aesthetic(Reward):
    """LAION's aesthetic score: how much people would like an image; its prompt is not read.

    About 1 to 10; Stable Diffusion 3.5 Medium has 5.1 to 5.4 (DiffusionNFT). An image is resized to
    224 pixels at its shorter side and cropped to the square in its middle. The image tower of a
    ViT-L/14, 304M parameters, from the hub (1.7 GB with the text tower, which is left out) unless
    `model` is a folder.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        weights: str = "trl-lib/ddpo-aesthetic-predictor",
        model: str = "openai/clip-vit-large-patch14",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        model_device: str | None = None,
        offload: bool = False,
    ) -> None:
        """`weights` is a file of the five layers, or a folder or repository that has one.

        sac+logos+ava1-l14-linearMSE.pth is such a file; in a repository it is aesthetic-model.pth.
        `model` is the CLIP in transformers' layout, a folder or a repository. `model_device`, as
        "cpu" or "cuda:1", is another device than the run's. With `offload` CLIP waits in the CPU's
        memory while the run trains. `dtype` is CLIP's (the five layers are float32).

        Raises:
            ValueError: weights or model cannot be had, are of another kind, or do not belong
                together; there is no such device.
        """
        home = own_device(model_device, device)
        self._layers = _layers(weights)
        network = clip_model.load(model, fix=_FIX)
        wanted, found = self._layers[0].in_features, network.config.projection_dim
        if wanted != found:
            raise ValueError(
                f"the model {model!r} is a CLIP of another size: its embeddings are {found} wide, "
                f"and the weights {weights!r} read {wanted}; {_FIX}"
            )
        self._size = clip_model.image_size(network)
        self._layers.to(home)
        # Half of CLIP reads texts.
        network.text_model = network.text_projection = None
        self._home = Resident(network, home, getattr(torch, dtype), offload=offload)

    @torch.no_grad()
    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Float[Tensor, " batch"]:
        """The published score; images are rounded to 8 bits."""
        network: Any = self._home.wake()
        pixels = square(images, self._size, transformers_margin)
        pixels = pixels.to(self._home.device, network.dtype)
        seen = network.get_image_features(pixels).pooler_output
        scores: Tensor = self._layers(normalize(seen.float())).squeeze(1)
        return scores.to(images.device)

    def rest(self) -> None:
        """Leaves the device, with `offload`."""
        self._home.rest()

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP of 0.5M parameters and layers for it; gives the options."""
        network = tiny_clip.network(head=64, activation="quick_gelu")
        network.save_pretrained(folder)
        widths = (network.config.projection_dim, 64, 32, 16, 8, 1)
        with borrowed(0, "aesthetic"):
            state = _linears(widths).state_dict()
        torch.save({_published(name): value for name, value in state.items()}, folder / FILE)
        return {"model": str(folder), "weights": str(folder / FILE)}


def _layers(weights: str) -> Any:
    """The five linear layers, with their weights.

    Raises:
        ValueError: they cannot be had or are others.
    """
    path = hub.file("weights", weights, FILE, fix=_FIX_WEIGHTS)
    found = hub.only_tensors("weights", weights, hub.tensors("weights", weights, path))
    wanted = {_published(f"{i}.{kind}") for i in range(len(_LAYERS)) for kind in ("weight", "bias")}
    if wrong := sorted(wanted ^ found.keys()):
        what = f"they have no {wrong[0]!r}" if wrong[0] in wanted else f"{wrong[0]!r} is unknown"
        raise ValueError(
            f"the weights {weights!r} are not the aesthetic predictor's: {what}; {_FIX_WEIGHTS}"
        )
    # Random weights would draw from the run's own generator.
    with torch.device("meta"):
        layers = _linears(_widths(found, weights))
    state = {name: found[_published(name)].float() for name in layers.state_dict()}
    layers.load_state_dict(state, assign=True)
    return layers.eval().requires_grad_(False)


def _widths(found: Mapping[str, Tensor], weights: str) -> tuple[int, ...]:
    matrices = [found[_published(f"{i}.weight")] for i in range(len(_LAYERS))]
    biases = [found[_published(f"{i}.bias")] for i in range(len(_LAYERS))]
    chained = all(m.ndim == 2 for m in matrices) and (
        [len(m) for m in matrices] == [m.shape[1] for m in matrices[1:]] + [1]
        and [list(b.shape) for b in biases] == [[len(m)] for m in matrices]
    )
    if not chained:
        shapes = ", ".join(str(list(m.shape)) for m in matrices)
        raise ValueError(
            f"the weights {weights!r} are no five layers to one number: their shapes are {shapes}; "
            f"{_FIX_WEIGHTS}"
        )
    return (matrices[0].shape[1], *(len(m) for m in matrices))


def _linears(widths: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))


def _published(name: str) -> str:
    number, _, kind = name.partition(".")
    return f"layers.{_LAYERS[int(number)]}.{kind}"
