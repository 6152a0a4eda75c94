"""Latents to images and back, in portions: the autoencoder of latent models."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "batch channels rows columns"]
Images = Float[Tensor, "batch 3 height width"]


class Vae:
    """A diffusers AutoencoderKL with its own shift and scale.

    A model's latents are (encoded - shift_factor) * scaling_factor of the autoencoder's.
    """

    def __init__(self, model: Any, *, resolution: int, portion: int) -> None:
        """For square images; `portion` of them go through it together: what bounds its memory."""
        self._model = model.eval().requires_grad_(False)
        self._resolution, self._portion = resolution, portion
        self._scale = float(model.config.scaling_factor)
        self._shift = float(model.config.shift_factor or 0.0)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a latent."""
        side = self._resolution // self.factor
        return int(self._model.config.latent_channels), side, side

    @property
    def factor(self) -> int:
        """Pixels a latent's row or column stands for."""
        return int(2 ** (len(self._model.config.block_out_channels) - 1))

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Images in [0, 1], float32; what lies outside is clamped."""
        inner = latents / self._scale + self._shift
        parts = [
            self._model.decode(part.to(self._model.dtype), return_dict=False)[0].float()
            for part in torch.split(inner, self._portion)
        ]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def encode(self, images: Images) -> Latents:
        """The most probable latents of images in [0, 1], float32.

        Raises:
            ValueError: the images are not of the policy's resolution.
        """
        side = self._resolution
        if images.shape[-2:] != (side, side):
            raise ValueError(
                f"the policy's resolution is {side} and an image has {images.shape[-2]} x "
                f"{images.shape[-1]} pixels; resize the images, or set policy.resolution"
            )
        inputs = 2 * images.to(self._model.device) - 1
        parts = [
            self._model.encode(part.to(self._model.dtype)).latent_dist.mode().float()
            for part in torch.split(inputs, self._portion)
        ]
        return (torch.cat(parts) - self._shift) * self._scale
