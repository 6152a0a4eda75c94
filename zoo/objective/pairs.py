"""The pairs of preference objectives: a group's best and worst images, collected or stored."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.devices import send
from zoo.errors import MisfitError
from zoo.flow import noised, velocity_target
from zoo.objective.kl import Point, square_distance
from zoo.rollout import Cond, Lookup, Rollout, Rows, join, take
from zoo.sampler.base import Latents
from zoo.seeds import Draws


@dataclass(frozen=True)
class PairRows(Rows):
    """A row is one pair with one draw of noise and t."""

    win: Lookup
    lose: Lookup
    cond: Cond


@dataclass(frozen=True)
class Pair(Point):
    """Pairs with their noise: where the network is asked, winners first, and the answer."""

    t: Float[Tensor, " images"]
    target: Latents

    def errors(self, v: Latents) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
        """The flow-matching errors of the winners and of the losers."""
        error = square_distance(v, self.target)
        return error[: len(v) // 2], error[len(v) // 2 :]


def pair_rows(
    rollout: Rollout, advantage: Float[Tensor, " images"], *, pairs_per_group: int, draws: int
) -> PairRows:
    """Every pair of every group, `draws` times; one without a preference has weight 0.

    Raises:
        MisfitError: a group has fewer than 2 pairs_per_group images.
    """
    win, lose, weight, unit = [], [], [], []
    for group in torch.unique(rollout.group).tolist():
        member = (rollout.group == group).nonzero()[:, 0]
        if len(member) < 2 * pairs_per_group:
            raise MisfitError(
                ("objective", "pairs_per_group"),
                f"pairs_per_group is {pairs_per_group}, "
                f"but group {group} has only {len(member)} images",
            )
        # Invalid images go to the middle: after every valid winner, before every valid loser.
        down = member[
            advantage[member].nan_to_num(-torch.inf).argsort(descending=True, stable=True)
        ]
        up = member[advantage[member].nan_to_num(torch.inf).argsort(stable=True)]
        for i in range(pairs_per_group):
            win.append(int(down[i]))
            lose.append(int(up[i]))
            weight.append(float(advantage[down[i]] > advantage[up[i]]))
            unit.append(group * pairs_per_group + i)
    draw = torch.arange(draws)
    times = torch.tensor(unit).repeat_interleave(draws)
    device = rollout.path.clean.device

    def lookup(image: list[int]) -> Lookup:
        index = torch.tensor(image).repeat_interleave(draws)
        return Lookup(rollout.path.clean, send(index, device))

    return PairRows(
        key=times * draws + draw.repeat(len(unit)),
        unit=times,
        weight=torch.tensor(weight).repeat_interleave(draws),
        win=lookup(win),
        lose=lookup(lose),
        # The loss is of the bare model, whatever guidance collected: as published.
        cond=replace(take(rollout.cond, torch.tensor(win).repeat_interleave(draws)), guidance=1.0),
    )


def noised_pair(rows: PairRows, t: Float[Tensor, " pairs"], draws: Draws) -> Pair:
    """Winner and loser of each pair with the same noise at the same time."""
    win, lose = rows.win.rows(), rows.lose.rows()
    noise = draws.at("noise").normal(tuple(win.shape[1:]))
    clean, t, noise = (
        torch.cat([win, lose]),
        t.repeat(2),
        noise.repeat(2, *[1] * (noise.ndim - 1)),
    )
    cond = join([rows.cond, rows.cond])
    return Pair(noised(clean, noise, t), t, cond, velocity_target(clean, noise))
