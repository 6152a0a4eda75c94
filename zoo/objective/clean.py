"""What objectives on clean latents share: their rows, the noise on them, a probe.

Such an objective keeps only an image's clean latents and what it was worth, so any solver collects.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.devices import send
from zoo.flow import noised
from zoo.objective.base import Probe
from zoo.objective.kl import Point
from zoo.policy.base import Policy
from zoo.rollout import Cond, Lookup, Rollout, Rows, Weights, take
from zoo.sampler.base import Latents
from zoo.seeds import Draws


@dataclass(frozen=True)
class CleanRows(Rows):
    """A row is one image with one draw of noise at one time.

    `place` is the same for a group's images at the same draw. `noise_key` seeds the noise: the
    row's own key, or its place where a group shares it. `advantage` is 0 for an invalid image,
    whose rows weigh nothing.
    """

    clean: Lookup
    cond: Cond
    t: Float[Tensor, " rows"]
    advantage: Float[Tensor, " rows"]
    place: Int[Tensor, " rows"]
    noise_key: Int[Tensor, " rows"]
    gate: Float[Tensor, " rows"] | None


@dataclass(frozen=True)
class Noised:
    """Rows with their noise, ready for a forward."""

    clean: Latents
    noise: Latents
    at: Point

    @property
    def target(self) -> Latents:
        """The velocity that flow matching regresses to."""
        return self.noise - self.clean


def clean_rows(
    rollout: Rollout,
    advantage: Float[Tensor, " images"],
    t: Float[Tensor, "images count"],
    *,
    by_group: bool = False,
    share_noise: bool = False,
) -> CleanRows:
    """Each image at its times.

    With `by_group` a group is one unit, with `share_noise` its images have the same noises. Images
    were perhaps collected with guidance; they are trained on without.
    """
    num_images, count = t.shape
    image = torch.arange(num_images).repeat_interleave(count)
    draw = torch.arange(count).repeat(num_images)
    device = rollout.path.clean.device
    key, place = (number[image] * count + draw for number in (rollout.key, rollout.group))
    return CleanRows(
        key=key,
        unit=(rollout.group if by_group else rollout.key)[image],
        weight=(~advantage.isnan()).float()[image],
        clean=Lookup(rollout.path.clean, send(image, device)),
        cond=replace(take(rollout.cond, image), guidance=1.0),
        t=send(t.flatten(), device),
        advantage=send(advantage.nan_to_num().float()[image], device),
        place=place,
        noise_key=place if share_noise else key,
        gate=None if rollout.gate is None else send(rollout.gate.float()[image], device),
    )


def add_noise(rows: CleanRows, draws: Draws, t: Float[Tensor, " rows"] | None = None) -> Noised:
    """The rows at their own times, or at `t`; `draws` are by row."""
    clean, t = rows.clean.rows(), rows.t if t is None else t
    noise = replace(draws, keys=rows.noise_key).normal(tuple(clean.shape[1:]))
    return Noised(clean, noise, Point(noised(clean, noise, t), t, rows.cond))


def velocity_of(policy: Policy, at: Point, which: Weights) -> Latents:
    """Another set's velocity, without gradients."""
    with torch.no_grad(), policy.weights.using(which):
        return policy.velocity(at.x, torch.as_tensor(at.t), at.cond)


def square_distance(v: Latents, other: Latents) -> Float[Tensor, " rows"]:
    """The mean squared difference of each row."""
    return (v - other).square().flatten(1).mean(1)


def needs_no_gradient(
    live: Latents, loss: Callable[[Latents, float], Float[Tensor, " rows"]]
) -> Probe:
    """That at zero advantage a loss of live's velocity has no gradient.

    `loss` is given the velocity and an advantage for all rows; the gradient is measured as a part
    of the one at advantage 1, and the largest of the rows counts.
    """

    def gradient(advantage: float) -> Float[Tensor, " rows"]:
        at = live.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(loss(at, advantage).sum(), at)
        size: Tensor = torch.linalg.vector_norm(found.flatten(1), dim=1)
        return size

    # torch's maximum, unlike Python's, is NaN where any is.
    largest = float((gradient(0.0) / gradient(1.0)).max())
    return Probe("gradient at zero advantage", largest, 0.0, 1e-3)
