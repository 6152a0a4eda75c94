"""Which times images are trained at: the sampler's own, or any of the model's."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float, Int
from torch import Tensor

from zoo import seeds
from zoo.devices import send
from zoo.errors import MisfitError
from zoo.flow import shift_of, shifted
from zoo.policy.base import Policy
from zoo.rollout import Rollout
from zoo.seeds import Draws

_STEPS = 1000
"""Of the processes that diffusion models are trained on."""


@dataclass(frozen=True)
class Times:
    """Which of the sampler's own times are trained at, counted from the noise on.

    `part` is the share of them, rounded up, of which the first `skip` are left out. `draw` choice
    takes any of them for each image, strata one of each of as many stretches, shared the same for
    all images of an epoch. With `early` above 1 the strata are shorter the earlier they are, the
    k-th of n ending at (k / n)^early of the times, and a time counts by its stratum's length: early
    ones are trained at more often, and the loss stays that of all (importance sampling).
    """

    part: Annotated[float, Gt(0), Le(1)] = 1.0
    skip: Annotated[int, Ge(0)] = 0
    draw: Literal["choice", "strata", "shared"] = "choice"
    early: Annotated[float, Ge(1)] = 1.0

    def __post_init__(self) -> None:
        """Only strata can be of different lengths."""
        if self.early != 1 and self.draw != "strata":
            raise ValueError(f"early {self.early:g} needs draw: strata, not {self.draw}")

    def num(self, rollout: Rollout) -> int:
        """How many they are; at least 1, so that `choose` refuses where there is none."""
        return max(1, math.ceil(self.part * len(_times(rollout)) - 1e-9) - self.skip)

    def choose(
        self, rollout: Rollout, count: int | None, draws: Draws
    ) -> Float[Tensor, "images count"]:
        """`count` times of each image, none twice; without a count all there are.

        Raises:
            MisfitError: there are not as many.
        """
        grid, num = _times(rollout), self.num(rollout)
        index = torch.arange(self.skip, math.ceil(self.part * len(grid) - 1e-9))
        wanted = num if count is None else count
        if wanted > len(index):
            raise MisfitError(
                ("objective", "trained_steps"),
                f"trained_steps is {wanted}, but only {len(index)} of the sampler's {len(grid)} "
                f"steps may be trained at (times: part {self.part:g}, skip {self.skip}); write "
                "fewer, or more sampler.steps",
            )
        return grid[index[self._places(len(index), wanted, draws)]]

    def weights(self, rollout: Rollout, count: int | None) -> Float[Tensor, " count"]:
        """How much each of the times of `choose` counts, in its order: 1 on average."""
        num = self.num(rollout)
        wanted = num if count is None else count
        if self.early == 1:
            return torch.ones(wanted)
        return self._edges(num, wanted).diff() * wanted / num

    def _edges(self, num: int, count: int) -> Int[Tensor, " _"]:
        """Where the strata begin, and the last one ends; each has a time at least."""
        if self.early == 1:
            return torch.arange(count + 1) * num // count
        edges = [0]
        for k in range(1, count + 1):
            wanted = round((k / count) ** self.early * num)
            edges.append(min(max(wanted, edges[-1] + 1), num - (count - k)))
        return torch.tensor(edges)

    def _places(self, num: int, count: int, draws: Draws) -> Int[Tensor, "images count"]:
        if self.draw == "choice":
            return draws.permutation(num)[:, :count].cpu()
        if self.draw == "shared":
            order = seeds.order(num, seed=draws.seed, purpose="times", epoch=draws.epoch)
            return order[:count].expand(len(draws.keys), count)
        edges = self._edges(num, count)
        place = draws.at("strata").uniform((count,)).cpu() * (edges[1:] - edges[:-1])
        return edges[:-1] + place.long()


def _times(rollout: Rollout) -> Float[Tensor, " steps"]:
    if rollout.grid is None:
        raise ValueError("it trains at the sampler's own times, and this sampler has none")
    return rollout.grid[:-1].float()


def any_times(policy: Policy, draws: Draws, shift: float | None = None) -> Float[Tensor, " rows"]:
    """Logit-normal times, shifted as the policy's grid or by `shift`.

    Of a policy whose grid has no shift any of its thousand steps is as likely: that is how models
    of the noise are trained (Wallace et al. 2023, arXiv 2311.12908).
    """
    shift = shift_of(policy.grid(5)) if shift is None else shift
    if shift is not None:
        return shifted(draws.at("t").normal().sigmoid(), shift)
    steps = policy.grid(_STEPS)[:-1].float()
    chosen = (draws.at("t").uniform() * len(steps)).long()
    return send(steps, chosen.device)[chosen]
