"""Supervised fine-tuning: flow matching on images, all alike or the better ones more.

On a model's own images: the best of each group (rejection sampling), or each by its reward
(reward-weighted regression, Lee et al. 2023, arXiv 2302.12192), as Flow-GRPO's code has both. On
stored images, with the sampler `dataset`, every one alike: plain fine-tuning on images and
captions.

Departs from that code: it forgets the weights where the distance to the reference has none.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from zoo.errors import MisfitError
from zoo.objective.base import Loss, Probe
from zoo.objective.clean import CleanRows, clean_rows
from zoo.objective.kl import KL, HeldObjective, square_distance, starts_at_reference
from zoo.objective.offline import OfflineObjective
from zoo.policy.base import Policy
from zoo.rollout import Rollout, Weights
from zoo.seeds import Draws

Weight = Literal["best_of_group", "rwr", "uniform"]


def sft_weights(
    rollout: Rollout, advantage: Float[Tensor, " images"], *, how: Weight
) -> Float[Tensor, " images"]:
    """What each image's loss is multiplied by.

    `best_of_group` is 1 for every image tied for the best of its group and else 0, `rwr` the reward
    as it is, `uniform` 1. NaN for an invalid image.

    Raises:
        MisfitError: a group has one image, and the best of it is asked for.
    """
    if how == "uniform":
        return torch.ones_like(advantage).masked_fill(advantage.isnan(), torch.nan)
    if how == "rwr":
        if rollout.reward is None:
            raise ValueError("weights: rwr needs the images' rewards, which nothing has scored")
        return rollout.reward.to(advantage).masked_fill(advantage.isnan(), torch.nan)
    groups, member, count = torch.unique(rollout.group, return_inverse=True, return_counts=True)
    if len(count) and int(count.min()) < 2:
        raise MisfitError(
            ("objective", "weights"),
            "weights is best_of_group, and a group has one image alone; write weights: uniform, "
            "or data.group_size: 2 or more",
        )
    lowest = advantage.nan_to_num(-torch.inf)
    best = lowest.new_full((len(groups),), -torch.inf).scatter_reduce(0, member, lowest, "amax")
    chosen = (advantage == best[member]).to(advantage.dtype)
    return chosen.masked_fill(advantage.isnan(), torch.nan)


class SFT(OfflineObjective[CleanRows], HeldObjective[CleanRows]):
    """Supervised fine-tuning on collected images, the better ones more, or on stored ones.

    Any solver collects, also with guidance: the loss has none. For stored images use the sampler
    `dataset`, weights uniform, and the reward `preference` or any other: it is recorded.
    """

    def __init__(
        self,
        *,
        weights: Weight = "best_of_group",
        kl: KL = KL(weight=0.0),
        draws_per_image: Annotated[int, Ge(1)] = 39,
        shift: Annotated[float, Gt(0)] | None = None,
        ref_update: Annotated[int, Ge(0)] = 0,
        collect_with: Literal["live", "reference"] = "live",
    ) -> None:
        """Hyper-parameters; the defaults are the published ones.

        Args:
            weights: of an image's loss: the best of each group alone, each its reward, or all 1.
            kl: the distance to the reference, of velocities; published 0 or 100.
            draws_per_image: draws of (noise, t) for each image.
            shift: t = shift u / (1 + (shift - 1) u) of a logit-normal u; none: as the policy's
                own grid.
            ref_update: updates after which the reference becomes live; 0: never.
            collect_with: the weights that collect; published the reference, every 40 updates live.
        """
        super().__init__(kl)
        self.weights: Weight = weights
        self.draws_per_image, self.shift, self.ref_update = draws_per_image, shift, ref_update
        self.acts_with = Weights(collect_with)
        self.compares = weights == "best_of_group"

    @property
    def uses(self) -> frozenset[Weights]:
        """What it is held to, and the reference where that collects."""
        return super().uses | (frozenset({self.acts_with}) - {Weights.LIVE})

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> CleanRows:
        """Each image `draws_per_image` times; the rows' advantage is the image's weight."""
        weight = sft_weights(rollout, advantage, how=self.weights)
        # Times depend on the policy's grid: they are drawn where the policy is at hand.
        no_times = torch.zeros(len(weight), self.draws_per_image)
        return clean_rows(rollout, weight, no_times)

    def loss(self, policy: Policy, rows: CleanRows, draws: Draws) -> Loss:
        """The weighted flow-matching error, and the distance to the reference."""
        at = rows.with_noise(draws, self.times(policy, draws))
        live = at.velocity(policy)
        error = at.error(live)
        loss = Loss(rows.advantage * error, {"matching_error": error.detach()})
        return self.hold(loss, policy, at, partial(square_distance, live), rows, draws)

    def probes(self, policy: Policy, rows: CleanRows, draws: Draws) -> Sequence[Probe]:
        """Live is the reference, where it is held to one and starts from no LoRA."""
        if not self.kl_weight or not starts_at_reference(policy):
            return ()
        at = rows.with_noise(draws, self.times(policy, draws))
        with torch.no_grad():
            live = at.velocity(policy)
        gap = square_distance(live, at.velocity(policy, Weights(self.kl.to)))
        return (Probe("distance to the reference", float(gap.max()), 0.0, 1e-6),)
