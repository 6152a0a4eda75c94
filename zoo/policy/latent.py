"""What latent models have alike: tables of embedded prompts, guidance, an autoencoder."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.policy.base import Policy
from zoo.policy.text_encoders import Tables
from zoo.policy.text_guidance import guided, text_cond
from zoo.policy.vae import Vae
from zoo.prompt import Prompt
from zoo.rollout import Cond


class LatentPolicy(Policy):
    """A network on an autoencoder's latents, told of prompts by embeddings of words and whole.

    A family sets `_device`, `_text` and `_vae`, and has its network's forward and its time grid.
    """

    _device: torch.device
    _text: Tables
    _vae: Vae

    @abstractmethod
    def _forward(self, x: Tensor, t: Tensor, words: Tensor, pooled: Tensor) -> Tensor:
        """The network's velocity, float32, without classifier-free guidance."""

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """A table of the distinct prompts' embeddings; with guidance also the empty prompt's."""
        return text_cond(self._text, prompts, guidance, self._device)

    def velocity(
        self, x: Float[Tensor, "batch *latent"], t: Float[Tensor, " batch"], cond: Cond
    ) -> Float[Tensor, "batch *latent"]:
        """dx/dt; with guidance two rows of the network for each, the null one without gradient."""
        return guided(self._forward, x, t, cond)

    def decode(
        self, latents: Float[Tensor, "batch *latent"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Images by the autoencoder, a few at a time."""
        return self._vae.decode(latents)

    def latents(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch *latent"]:
        """The most probable latents.

        Raises:
            ValueError: the images are not of the policy's resolution.
        """
        return self._vae.encode(images)
