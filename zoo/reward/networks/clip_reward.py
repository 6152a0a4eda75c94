"""What the rewards on CLIP have alike: one model, which leaves its device where it is to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.data.text_limit import TextLimit, counted_by
from zoo.reward.base import Reward
from zoo.reward.networks.clip import NUM_TOKENS, Clip, load_tokenizer
from zoo.reward.networks.pixels import float_pixels

Prepare = Callable[[Tensor, int], Tensor]
"""Images in [0, 1] as a model of so many pixels wants them."""


class ClipReward(Reward):
    """A reward on one CLIP."""

    _clip: Clip

    def _embed(
        self, images: Float[Tensor, "batch 3 height width"], prepare: Prepare
    ) -> Float[Tensor, "batch features"]:
        """The images' embeddings, on the model's device."""
        return self._clip.images(prepare(images.to(self._clip.device), self._clip.image_size))

    def _cosine(
        self,
        images: Float[Tensor, "batch 3 height width"],
        texts: Sequence[str],
        prepare: Prepare,
    ) -> Float[Tensor, " batch"]:
        """Of each image with its text, on the images' device."""
        cosine = (self._embed(images, prepare) * self._clip.texts(texts)).sum(-1)
        return cosine.to(images.device)

    @torch.no_grad()
    def features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
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
