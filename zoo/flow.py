"""The time convention: t = 0 is data, t = 1 is noise.

x_t = (1 - t) clean + t noise, velocity = noise - clean. Rectified flow, Liu et al. 2022 (arXiv
2209.03003). `t` has shape [batch] or is a scalar and broadcasts over the latent axes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.devices import send

Time = Float[Tensor, " batch"] | Float[Tensor, ""] | float


def over_latent(t: Time, x: Float[Tensor, "batch *latent"]) -> Tensor:
    """`t` with a trailing axis of 1 for each latent axis of `x`, in x's dtype and on its device.

    A scalar stays where it is: one of the host is a kernel's argument, and nothing waits for it.
    """
    t = torch.as_tensor(t, dtype=x.dtype)
    return send(t, x.device).reshape(t.shape + (1,) * (x.ndim - t.ndim)) if t.ndim else t


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


def shifted(u: Float[Tensor, " batch"], shift: float) -> Float[Tensor, " batch"]:
    """Times moved towards noise, as Esser et al. 2024 (arXiv 2403.03206); by 1 they are not."""
    return shift * u / (1 + (shift - 1) * u)


def shift_of(grid: Float[Tensor, "6"]) -> float | None:
    """The shift of five even steps from u = 1 to any u > 0 and one to 0; None for another grid.

    The odds t / (1 - t) are `shift` times those of u, which for a last step at u = s are
    (1 + s) / (1 - s) in the middle and s / (1 - s) at the end.
    """
    t = grid[:-1].double()
    odds = t / (1 - t)
    shift = float(odds[2] - 2 * odds[4])
    if shift <= 0:
        return None
    u = shifted(t, 1 / shift)
    even = torch.linspace(1, float(u[-1]), len(u), dtype=torch.float64)
    return shift if torch.allclose(u, even, rtol=0, atol=1e-3) else None
