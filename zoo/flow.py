"""The time convention: t = 0 is data, t = 1 is noise.

x_t = (1 - t) clean + t noise, velocity = noise - clean. Rectified flow, Liu et al. 2022 (arXiv
2209.03003). `t` has shape [batch] or is a scalar and broadcasts over the latent axes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Time = Float[Tensor, " batch"] | Float[Tensor, ""] | float


def over_latent(t: Time, x: Float[Tensor, "batch *latent"]) -> Tensor:
    """`t` with a trailing axis of 1 for each latent axis of `x`, in x's dtype and on its device."""
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    return t.reshape(t.shape + (1,) * (x.ndim - t.ndim)) if t.ndim else t


def noised(
    clean: Float[Tensor, "batch *latent"], noise: Float[Tensor, "batch *latent"], t: Time
) -> Float[Tensor, "batch *latent"]:
    """The point at `t` of the straight path from clean to noise."""
    t = over_latent(t, clean)
    return (1 - t) * clean + t * noise


def velocity_target(
    clean: Float[Tensor, "batch *latent"], noise: Float[Tensor, "batch *latent"]
) -> Float[Tensor, "batch *latent"]:
    """dx/dt along the straight path: what flow matching regresses to."""
    return noise - clean


def clean_from(
    x: Float[Tensor, "batch *latent"], velocity: Float[Tensor, "batch *latent"], t: Time
) -> Float[Tensor, "batch *latent"]:
    """The clean latents that a velocity at x and t points back to."""
    return x - over_latent(t, x) * velocity


def noise_from(
    x: Float[Tensor, "batch *latent"], velocity: Float[Tensor, "batch *latent"], t: Time
) -> Float[Tensor, "batch *latent"]:
    """The noise that a velocity at x and t points on to."""
    return x + (1 - over_latent(t, x)) * velocity
