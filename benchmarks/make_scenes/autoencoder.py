"""The autoencoder of the model `scenes`: 32 x 32 pixels to 8 x 8 latents of four channels.

As a latent diffusion model's (Rombach et al. 2022, arXiv 2112.10752), with a small weight on the
divergence from a normal distribution. Departs from it: no perceptual and no adversarial loss, which
pictures of flat colours do not need.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from benchmarks.make_scenes.parts import FACTOR, LATENT_CHANNELS, new_autoencoder
from benchmarks.make_scenes.sampled import some_images
from benchmarks.make_scenes.training import Schedule, train
from zoo.data.scenes.shapes import SIZE
from zoo.seeds import Draws

DIVERGENCE = 1e-5
"""The weight of the divergence, a mean over the latents' numbers."""


def make_autoencoder(folder: Path, *, seed: int, schedule: Schedule) -> Any:
    """Trained and frozen; its scale and shift bring latents to a mean of 0 and a std of 1."""
    model = new_autoencoder(seed)

    def loss_of(step: int) -> Float[Tensor, ""]:
        first = step * schedule.batch
        images = some_images(schedule.batch, seed=seed, purpose="scenes autoencoder", first=first)
        return loss(model, images, Draws(seed, "scenes latents", step, torch.zeros(1).long()))

    train("autoencoder", model, loss_of, schedule, folder)
    model.eval().requires_grad_(False)
    latents = encode(model, some_images(2048, seed=seed, purpose="scenes latents' scale"))
    model.register_to_config(
        shift_factor=latents.mean().item(), scaling_factor=1.0 / latents.std().item()
    )
    return model


def loss(model: Any, images: Float[Tensor, "batch 3 32 32"], draws: Draws) -> Float[Tensor, ""]:
    """What decoded latents miss, and their divergence; `draws` have one row."""
    pixels = images * 2.0 - 1.0
    found = model.encode(pixels).latent_dist
    side = SIZE // FACTOR
    noise = draws.normal((len(images), LATENT_CHANNELS, side, side))[0]
    made = model.decode(found.mean + found.std * noise).sample
    divergence = 0.5 * (found.mean**2 + found.var - 1.0 - found.logvar).mean()
    return F.l1_loss(made, pixels) + F.mse_loss(made, pixels) + DIVERGENCE * divergence


@torch.no_grad()
def encode(model: Any, images: Float[Tensor, "batch 3 32 32"]) -> Float[Tensor, "batch 4 8 8"]:
    """The most probable latents, scaled and shifted as the model's configuration says."""
    latents: Tensor = model.encode(images * 2.0 - 1.0).latent_dist.mode()
    return (latents - model.config.shift_factor) * model.config.scaling_factor
