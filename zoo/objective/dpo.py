"""Diffusion-DPO on flow matching: best against worst, of images that are made or stored.

Wallace et al. 2023 (arXiv 2311.12908, eq. 14). The best and the worst images of each group make
pairs; both get the same noise and the same t, and live is asked to fit the winner better, relative
to the reference, than the loser. Times are logit-normal, then shifted as the policy's own grid is.
Offline it is the sampler `dataset` with the reward `preference` and ref_update 0.

Departs from the published online run: it collects with the reference and never moves it in its
shipped config; here live collects (`collect_with` changes that) and the reference is set to live
every `ref_update` updates (0: never).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from zoo.errors import MisfitError
from zoo.flow import noised, shift_of, shifted, velocity_target
from zoo.objective.base import Loss, Objective, Probe
from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.rollout import Cond, Lookup, Rollout, Rows, Weights, join, take
from zoo.seeds import Draws

_STEPS = 1000
"""Of the processes that diffusion models are trained on."""


def diffusion_dpo_loss(
    err_live_win: Float[Tensor, " pairs"],
    err_ref_win: Float[Tensor, " pairs"],
    err_live_lose: Float[Tensor, " pairs"],
    err_ref_lose: Float[Tensor, " pairs"],
    *,
    beta: float,
) -> Float[Tensor, " pairs"]:
    """-log sigmoid(-beta / 2 [(live - ref error of winner) - (live - ref error of loser)])."""
    inside = -0.5 * beta * ((err_live_win - err_ref_win) - (err_live_lose - err_ref_lose))
    return -F.logsigmoid(inside)


@dataclass(frozen=True)
class DPORows(Rows):
    """A row is one pair with one draw of noise and t."""

    win: Lookup
    lose: Lookup
    cond: Cond


class DPO(Objective[DPORows]):
    """Diffusion-DPO (arXiv 2311.12908) on pairs of each group's best and worst images.

    A group whose rewards are all equal gives no pair: its rows have weight 0. Images may be
    collected with guidance; the loss has none. For offline pairs use the sampler `dataset`, the
    reward `preference` and ref_update 0.
    """

    images_per_row = 2
    trains_guided = True

    def __init__(
        self,
        *,
        beta: Annotated[float, Gt(0)] = 100.0,
        ref_update: Annotated[int, Ge(0)] = 40,
        pairs_per_group: Annotated[int, Ge(1)] = 1,
        draws_per_pair: Annotated[int, Ge(1)] = 39,
        shift: Annotated[float, Gt(0)] | None = None,
        collect_with: Literal["live", "reference"] = "live",
    ) -> None:
        """Hyper-parameters; the defaults are the published online run's but for those named above.

        Args:
            beta: strength of the preference; 100 online, 2000 to 5000 in offline papers.
            ref_update: optimizer steps after which the reference becomes live; 0 (offline): never.
            pairs_per_group: best with worst, second best with second worst, and so on.
            draws_per_pair: draws of (noise, t) for each pair.
            shift: t = shift u / (1 + (shift - 1) u) of a logit-normal u; none: that of the policy's
                own grid, which for SD3 is 3, for FLUX grows with the resolution.
            collect_with: the weights that collect.
        """
        self.beta = beta
        self.ref_update = ref_update
        self.pairs_per_group = pairs_per_group
        self.draws_per_pair = draws_per_pair
        self.shift = shift
        self.acts_with = Weights(collect_with)

    @property
    def moves(self) -> frozenset[Weights]:
        """The reference, where it follows live."""
        return frozenset({Weights.REFERENCE}) if self.ref_update else frozenset()

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> DPORows:
        """Every pair of every group, `draws_per_pair` times."""
        win, lose, weight, unit = [], [], [], []
        for group in torch.unique(rollout.group).tolist():
            member = (rollout.group == group).nonzero()[:, 0]
            if len(member) < 2 * self.pairs_per_group:
                raise MisfitError(
                    ("objective", "pairs_per_group"),
                    f"pairs_per_group is {self.pairs_per_group}, "
                    f"but group {group} has only {len(member)} images",
                )
            # Invalid images go to the middle: after every valid winner, before every valid loser.
            down = member[
                advantage[member].nan_to_num(-torch.inf).argsort(descending=True, stable=True)
            ]
            up = member[advantage[member].nan_to_num(torch.inf).argsort(stable=True)]
            for i in range(self.pairs_per_group):
                win.append(int(down[i]))
                lose.append(int(up[i]))
                weight.append(float(advantage[down[i]] > advantage[up[i]]))
                unit.append(group * self.pairs_per_group + i)
        draw = torch.arange(self.draws_per_pair)
        times = torch.tensor(unit).repeat_interleave(self.draws_per_pair)
        device = rollout.path.clean.device

        def lookup(image: list[int]) -> Lookup:
            index = torch.tensor(image).repeat_interleave(self.draws_per_pair)
            return Lookup(rollout.path.clean, index.to(device))

        return DPORows(
            key=times * self.draws_per_pair + draw.repeat(len(unit)),
            unit=times,
            weight=torch.tensor(weight).repeat_interleave(self.draws_per_pair),
            win=lookup(win),
            lose=lookup(lose),
            # The loss is of the bare model, whatever guidance collected: as published.
            cond=replace(
                take(rollout.cond, torch.tensor(win).repeat_interleave(self.draws_per_pair)),
                guidance=1.0,
            ),
        )

    def loss(self, policy: Policy, rows: DPORows, draws: Draws) -> Loss:
        """The DPO loss of each pair; winner and loser go through the network together."""
        win, lose = rows.win.rows(), rows.lose.rows()
        t = self._times(policy, draws)
        noise = draws.at("noise").normal(tuple(win.shape[1:]))
        clean, t, noise = (
            torch.cat([win, lose]),
            t.repeat(2),
            noise.repeat(2, *[1] * (noise.ndim - 1)),
        )
        x, target, cond = (
            noised(clean, noise, t),
            velocity_target(clean, noise),
            join([rows.cond, rows.cond]),
        )

        def errors() -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
            error = (policy.velocity(x, t, cond) - target).square().flatten(1).mean(1)
            return error[: len(win)], error[len(win) :]

        with torch.no_grad(), policy.weights.using(Weights.REFERENCE):
            ref_win, ref_lose = errors()
        live_win, live_lose = errors()
        per_row = diffusion_dpo_loss(live_win, ref_win, live_lose, ref_lose, beta=self.beta)
        margin = ((live_lose - ref_lose) - (live_win - ref_win)).detach()
        return Loss(per_row, {"margin": margin, "pair_accuracy": (margin > 0).float()})

    def _times(self, policy: Policy, draws: Draws) -> Float[Tensor, " pairs"]:
        """By the shift; of a policy whose grid has none, any of its thousand steps, as published.

        That is how models of the noise are trained (Wallace et al. 2023, arXiv 2311.12908).
        """
        shift = shift_of(policy.grid(5)) if self.shift is None else self.shift
        if shift is not None:
            return shifted(draws.at("t").normal().sigmoid(), shift)
        steps = policy.grid(_STEPS)[:-1].float()
        chosen = (draws.at("t").uniform() * len(steps)).long()
        return steps.to(chosen.device)[chosen]

    def after_update(self, weights: WeightSets, step: int) -> None:
        """The reference becomes live every `ref_update` steps."""
        if self.ref_update and step % self.ref_update == 0:
            weights.blend(Weights.REFERENCE, decay=0.0)

    def probes(self, policy: Policy, rows: DPORows, draws: Draws) -> Sequence[Probe]:
        """Before any update live is the reference: the loss is ln 2 whatever the pairs.

        Not so where live starts from a LoRA and the reference, which never moves, is the base.
        """
        lora = policy.weights.lora
        if lora is not None and lora.start is not None and not self.ref_update:
            return ()
        with torch.no_grad():
            loss = self.loss(policy, rows, draws).per_row
        furthest = float(loss[(loss - math.log(2)).abs().argmax()])
        return (Probe("loss at live == reference", furthest, math.log(2), 1e-3),)
