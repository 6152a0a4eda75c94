"""What objectives on clean latents share: their rows, the noise on them, old weights, a probe.

Such an objective keeps only an image's clean latents and what it was worth, so any solver collects.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.devices import send
from zoo.flow import noised
from zoo.objective.base import Probe, R
from zoo.objective.kl import KL, HeldObjective, HeldRows, Point, square_distance
from zoo.objective.old import OldSchedule
from zoo.objective.times import Times
from zoo.policy.weights import WeightSets
from zoo.rollout import Lookup, Rollout, Weights, take
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws


@dataclass(frozen=True)
class Noised(Point):
    """Rows with their noise, ready for a forward."""

    t: PerRow
    clean: Latents
    noise: Latents

    @property
    def target(self) -> Latents:
        """The velocity that flow matching regresses to."""
        return self.noise - self.clean

    def error(self, v: Latents) -> PerRow:
        """The flow-matching error of a velocity."""
        return square_distance(v, self.target)


@dataclass(frozen=True)
class CleanRows(HeldRows):
    """A row is one image with one draw of noise at one time.

    `place` is the same for a group's images at the same draw. `noise_key` seeds the noise of a row
    where that is not its own key: its place, where a group shares it. `advantage` is 0 for an
    invalid image, whose rows weigh nothing.
    """

    clean: Lookup
    advantage: Float[Tensor, " rows"]
    place: Int[Tensor, " rows"]
    noise_key: Int[Tensor, " rows"] | None

    def with_noise(self, draws: Draws, t: Float[Tensor, " rows"] | None = None) -> Noised:
        """The rows at their own times, or at `t`; `draws` are by row."""
        clean, t = self.clean.rows(), self.t if t is None else t
        if self.noise_key is not None:
            draws = replace(draws, keys=self.noise_key)
        noise = draws.normal(tuple(clean.shape[1:]))
        return Noised(noised(clean, noise, t), t, self.cond, clean, noise)

    def columns(self) -> dict[str, Any]:
        """All that it is made of, for a subclass to add its own to."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}


class CleanObjective(HeldObjective[R]):
    """An objective on clean images at the sampler's own times, whose old weights follow live."""

    needs_grid = True

    def __init__(
        self, kl: KL, old: OldSchedule, trained_steps: int | None, times: Times, weight: float = 0.0
    ) -> None:
        """See the options of `ElboPG`."""
        super().__init__(kl, weight)
        self.old, self.trained_steps, self.times = old, trained_steps, times

    @property
    def moves(self) -> frozenset[Weights]:
        """Old, which follows live."""
        return frozenset({Weights.OLD})

    def at_its_times(
        self,
        rollout: Rollout,
        advantage: Float[Tensor, " images"],
        draws: Draws,
        *,
        by_group: bool = False,
        share_noise: bool = False,
    ) -> CleanRows:
        """Each image at `trained_steps` times; see `clean_rows`."""
        t = self.times.choose(rollout, self.trained_steps, draws)
        rows = clean_rows(rollout, advantage, t, by_group=by_group, share_noise=share_noise)
        often = self.times.weights(rollout, self.trained_steps)
        return replace(rows, weight=rows.weight * often.repeat(len(t)))

    def after_epoch(self, weights: WeightSets, step: int) -> None:
        """Old moves towards live, where there is one."""
        if Weights.OLD in self.moves:
            weights.blend(Weights.OLD, self.old.at(step))


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
        noise_key=place if share_noise else None,
        gate=None if rollout.gate is None else send(rollout.gate.float()[image], device),
    )


def sum_by(
    place: Int[Tensor, " batch"], value: Float[Tensor, "batch *columns"]
) -> Float[Tensor, "batch *columns"]:
    """The sum over the rows of the same place, for each row."""
    _, member = torch.unique(place, return_inverse=True)
    sums = value.new_zeros(int(member.max()) + 1 if len(member) else 0, *value.shape[1:])
    return sums.index_add(0, member, value)[member]


def needs_no_gradient(
    live: Latents, like: PerRow, loss: Callable[[Latents, PerRow], PerRow]
) -> Probe:
    """That at zero advantage a loss of live's velocity has no gradient.

    `loss` is given the velocity and advantages, equal and `like` these; the gradient is measured as
    a part of the one at advantage 1, and the largest of the rows counts.
    """

    def gradient(advantage: float) -> PerRow:
        at = live.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(loss(at, torch.full_like(like, advantage)).sum(), at)
        size: Tensor = torch.linalg.vector_norm(found.flatten(1), dim=1)
        return size

    # torch's maximum, unlike Python's, is NaN where any is.
    largest = float((gradient(0.0) / gradient(1.0)).max())
    return Probe("gradient at zero advantage", largest, 0.0, 1e-3)
