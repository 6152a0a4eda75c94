"""What the rewards on CLIP have alike: one model, which leaves its device where it is to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo.data.text_limit import TextLimit, counted_by
from zoo.prompt import Prompt
from zoo.reward.base import Features, Images, NetworkBytes, PerImage, Reward
from zoo.reward.networks.clip import NUM_TOKENS, Activation, Clip, load_tokenizer
from zoo.reward.networks.pixels import float_pixels
from zoo.reward.networks.sizes import clip_bytes

Prepare = Callable[[Tensor, int], Tensor]
"""Images in [0, 1] as a model of so many pixels wants them."""


class ClipReward(Reward):
    """A reward on one CLIP."""

    _clip: Clip

    def _embed(self, images: Images, prepare: Prepare) -> Features:
        """The images' embeddings, on the model's device."""
        return self._clip.images(prepare(images.to(self._clip.device), self._clip.image_size))

    def _cosine(self, images: Images, texts: Sequence[str], prepare: Prepare) -> PerImage:
        """Of each image with its text, on the images' device."""
        cosine = (self._embed(images, prepare) * self._clip.texts(texts)).sum(-1)
        return cosine.to(images.device)

    @torch.no_grad()
    def features(self, images: Images) -> Features:
        """The images' embeddings, prepared as for CLIPScore, on the images' device."""
        return self._embed(images, float_pixels).to(images.device)

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """CLIP's, where the reward reads prompts: where it has a tokenizer.

        Raises:
            ValueError: it cannot be had.
        """
        if "tokenizer" not in options:
            return ()
        return (TextLimit("CLIP", NUM_TOKENS, counted_by(load_tokenizer(options["tokenizer"]))),)

    def rest(self) -> None:
        """Leaves the device, with `offload`."""
        self._clip.rest()


class LogitReward(ClipReward):
    """The logit of an image and its prompt under a CLIP of transformers, by a number."""

    activation: ClassVar[Activation] = "quick_gelu"
    """Of the models that it is for."""

    def __init__(self, clip: Clip, prepare: Prepare, divisor: float) -> None:
        """`prepare` makes of images what the model was trained on."""
        self._clip, self._prepare, self._divisor = clip, prepare, divisor

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """The logit by `divisor`."""
        cosine = self._cosine(images, [prompt.text for prompt in prompts], self._prepare)
        return self._clip.scale * cosine / self._divisor

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes | None:
        """Those of the CLIP."""
        return clip_bytes(options)

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes a random CLIP and a tokenizer that spells; gives the options that load them."""
        from zoo.reward.networks.tiny_clip import write

        write(folder, cls.activation)
        return {"model": str(folder), "tokenizer": str(folder)}
