"""Diffusion-KTO: likes and dislikes of single images, which need no pairs.

Li et al. 2024 (arXiv 2404.04465), with the utility as a sigmoid. Live is asked to fit what is liked
better than the reference does, and what is not worse, by more than it does on average.

That average is over the update's rows of all processes: it is measured before the update, where
the published code takes a batch's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from zoo.devices import send
from zoo.errors import MisfitError
from zoo.objective.base import Gather, Loss, Probe
from zoo.objective.clean import CleanRows, clean_rows
from zoo.objective.kl import starts_at_reference
from zoo.objective.offline import OfflineObjective
from zoo.policy.base import Policy
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import PerRow
from zoo.seeds import Draws


def kto_loss(
    err_live: PerRow,
    err_ref: PerRow,
    liked: Shaped[Tensor, " batch"],
    *,
    beta: float,
    weight_liked: float,
    weight_disliked: float,
    baseline: PerRow | None = None,
) -> PerRow:
    """Weight times 1 - sigmoid(+-beta (gain - baseline)) of each row, + of what is liked.

    The gain is the reference's error less live's. The baseline has no gradient; by default it is
    the batch's mean gain, or 0 where that is below.
    """
    gain = err_ref - err_live
    if baseline is None:
        baseline = gain.detach().mean().clamp(min=0)
    like = liked.to(gain.dtype)
    sign, weight = 2 * like - 1, weight_liked * like + weight_disliked * (1 - like)
    return weight * (1 - (sign * beta * (gain - baseline)).sigmoid())


@dataclass(frozen=True)
class KTORows(CleanRows):
    """`liked` says which images are; `baseline` is 0, as where live is the reference, at first."""

    liked: Bool[Tensor, " rows"]
    baseline: Float[Tensor, " rows"]


class KTO(OfflineObjective[KTORows]):
    """Diffusion-KTO (arXiv 2404.04465) on images that are liked or not, collected or stored.

    Liked is what is better than its group's mean, or, with `liked_from`, whose reward is at least
    that: of stored images, with the sampler `dataset` and the reward `preference`, one image a
    prompt will do. Images may be collected with guidance; the loss has none. What is as good as its
    group's mean is neither, and is not trained on. A row takes two forwards more than its loss.
    """

    looks_ahead = True

    def __init__(
        self,
        *,
        beta: Annotated[float, Gt(0)] = 1000.0,
        weight_liked: Annotated[float, Ge(0)] = 1.0,
        weight_disliked: Annotated[float, Ge(0)] = 1.0,
        liked_from: float | None = None,
        draws_per_image: Annotated[int, Ge(1)] = 4,
        shift: Annotated[float, Gt(0)] | None = None,
        ref_update: Annotated[int, Ge(0)] = 0,
        collect_with: Literal["live", "reference"] = "live",
    ) -> None:
        """Hyper-parameters; the defaults are the published offline run's.

        Args:
            beta: strength of the preference.
            weight_liked: of what is liked.
            weight_disliked: of what is not.
            liked_from: the reward from which an image is liked; none: better than its group.
            draws_per_image: draws of (noise, t) for each image; published 1, of a large data set.
            shift: t = shift u / (1 + (shift - 1) u) of a logit-normal u; none: as the policy's
                own grid.
            ref_update: updates after which the reference becomes live; 0: never.
            collect_with: the weights that collect.
        """
        self.beta = beta
        self.weight_liked, self.weight_disliked = weight_liked, weight_disliked
        self.liked_from, self.draws_per_image = liked_from, draws_per_image
        self.shift, self.ref_update = shift, ref_update
        self.acts_with = Weights(collect_with)
        self.compares = liked_from is None

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> KTORows:
        """Each image `draws_per_image` times."""
        liked, valid = self._liked(rollout, advantage)
        no_times = torch.zeros(len(advantage), self.draws_per_image)
        rows = clean_rows(rollout, advantage.masked_fill(~valid, torch.nan), no_times)
        of_rows = send(liked.repeat_interleave(self.draws_per_image), rows.advantage.device)
        return KTORows(**rows.columns(), liked=of_rows, baseline=torch.zeros_like(rows.advantage))

    def _liked(
        self, rollout: Rollout, advantage: Float[Tensor, " images"]
    ) -> tuple[Bool[Tensor, " images"], Bool[Tensor, " images"]]:
        """Which images are liked, and which are liked or not: the others say nothing."""
        if self.liked_from is not None:
            if rollout.reward is None:
                raise ValueError("liked_from needs the images' rewards, which nothing has scored")
            return rollout.reward >= self.liked_from, ~(rollout.reward + advantage).isnan()
        count = torch.unique(rollout.group, return_counts=True)[1]
        if len(count) and int(count.min()) < 2:
            raise MisfitError(
                ("objective", "liked_from"),
                "liked_from is null, which compares the images of a group, and a group has one "
                "alone; write liked_from: 0.5, say, or data.group_size: 2 or more",
            )
        return advantage > 0, advantage.nan_to_num() != 0

    def _errors(self, policy: Policy, rows: KTORows, draws: Draws) -> tuple[PerRow, PerRow]:
        """The flow-matching errors of live and of the reference."""
        at = rows.with_noise(draws, self.times(policy, draws))
        reference = at.error(at.velocity(policy, Weights.REFERENCE))
        return at.error(at.velocity(policy)), reference

    def measure(self, policy: Policy, rows: KTORows, draws: Draws) -> PerRow:
        """Each row's gain on the reference."""
        live, reference = self._errors(policy, rows, draws)
        return reference - live

    def settle(self, rows: KTORows, measured: PerRow, gather: Gather) -> KTORows:
        """The mean gain of all processes' rows of the update, at least 0."""
        known = measured[~measured.isnan()]
        sums = torch.tensor([[float(known.sum()), len(known)]], dtype=torch.float64)
        total, count = gather(sums).sum(0).tolist()
        mean = max(0.0, total / max(1.0, count))
        return replace(rows, baseline=torch.full_like(rows.baseline, mean))

    def loss(self, policy: Policy, rows: KTORows, draws: Draws) -> Loss:
        """The loss of each image."""
        live, reference = self._errors(policy, rows, draws)
        per_row = kto_loss(
            live, reference, rows.liked, beta=self.beta, baseline=rows.baseline,
            weight_liked=self.weight_liked, weight_disliked=self.weight_disliked,
        )  # fmt: skip
        gain = (reference - live).detach()
        return Loss(per_row, {"gain": gain, "gain_accuracy": ((gain > 0) == rows.liked).float()})

    def probes(self, policy: Policy, rows: KTORows, draws: Draws) -> Sequence[Probe]:
        """Live is the reference: no image has a gain. Not so where live starts from a LoRA."""
        if not starts_at_reference(policy) and not self.ref_update:
            return ()
        with torch.no_grad():
            gain = self.measure(policy, rows, draws)
        return (Probe("gain on the reference", float(gain.abs().max()), 0.0, 1e-5),)
