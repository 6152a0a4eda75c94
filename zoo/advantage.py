"""From rewards to advantages: mixing several rewards, and measuring each image against its group.

Statistics are float64 with population standard deviations (ddof 0). NaN marks an invalid image: it
is left out of every statistic and stays NaN. GDPO: arXiv 2601.05242.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_ROUNDING = 4 * torch.finfo(torch.float32).eps
"""By which part equal rewards may differ: a few of a float32's last digits."""


def group_advantage(
    reward: Float[Tensor, " batch"],
    group: Int[Tensor, " batch"],
    *,
    std: Literal["global", "group"] = "global",
    eps: float = 1e-4,
) -> Float[Tensor, " batch"]:
    """(reward - mean of its group) / (std + eps), in float64.

    `std` is of all rewards as they are (not of the residuals), or of the image's group. A group
    whose rewards are all equal, as `has_spread` means it, gets exactly 0.
    """
    residual, group_std = _within_groups(reward, group)
    if std == "group":
        return residual / (group_std + eps)
    if std == "global":
        return residual / (_std(reward.double()) + eps)
    raise ValueError(f"std is 'global' or 'group', not {std!r}")


def has_spread(
    reward: Float[Tensor, " batch"], group: Int[Tensor, " batch"]
) -> Bool[Tensor, " groups"]:
    """Whether the valid rewards of each group differ, by more than float32 rounds; in their order.

    A model scores equal images unequally in their last digits where they are in other batches.
    """
    reward = reward.double()
    groups, member = torch.unique(group, return_inverse=True)

    def furthest(filler: float, how: str) -> Float[Tensor, " groups"]:
        valid = reward.masked_fill(reward.isnan(), filler)
        return reward.new_full((len(groups),), filler).scatter_reduce(0, member, valid, how)

    low, high = furthest(torch.inf, "amin"), furthest(-torch.inf, "amax")
    return high - low > _ROUNDING * torch.maximum(low.abs(), high.abs())


def banned(
    reward: Float[Tensor, " batch"],
    group: Int[Tensor, " batch"],
    *,
    std_at_most: float | None = None,
    mean_at_least: float | None = None,
) -> Bool[Tensor, " batch"]:
    """The images of groups to learn nothing from: whose rewards are all alike, or good already.

    A group is banned where its deviation is at most the one or its mean at least the other
    (Edit-R1, arXiv 2510.16888: 0.05 and 0.9 of rewards in [0, 1]).
    """
    reward = reward.double()
    _, std = _within_groups(reward, group)
    out = torch.zeros_like(reward, dtype=torch.bool)
    if std_at_most is not None:
        out |= std <= std_at_most
    if mean_at_least is not None:
        _, member = torch.unique(group, return_inverse=True)
        valid = ~reward.isnan()
        count = torch.bincount(member[valid], minlength=int(member.max()) + 1).clamp(min=1)
        sums = reward.new_zeros(len(count)).index_add(0, member, reward.nan_to_num())
        out |= (sums / count)[member] >= mean_at_least
    return out


def mix(
    scores: Mapping[str, Float[Tensor, " batch"]],
    weights: Mapping[str, float],
    group: Int[Tensor, " batch"],
    *,
    how: Literal["sum", "gdpo"] = "sum",
    eps: float = 1e-4,
) -> Float[Tensor, " batch"]:
    """One reward from several, in float64; an image with any invalid score is invalid.

    `sum` adds them with their weights. `gdpo` first normalises each within its group, so that a
    reward of small spread is not starved, adds, and normalises the sum over the batch.
    """
    if set(scores) != set(weights):
        raise ValueError(
            f"scores {sorted(scores)} and weights {sorted(weights)} must have the same names"
        )
    if how == "sum":
        return torch.stack([weights[name] * score.double() for name, score in scores.items()]).sum(
            0
        )
    if how != "gdpo":
        raise ValueError(f"how is 'sum' or 'gdpo', not {how!r}")
    invalid = torch.stack([score.isnan() for score in scores.values()]).any(0)
    total = torch.zeros(len(group), dtype=torch.float64, device=group.device)
    for name, score in scores.items():
        valid = score.double().masked_fill(invalid, torch.nan)
        total += weights[name] * group_advantage(valid, group, std="group", eps=eps)
    return (total - total.nanmean()) / (_std(total) + eps)


def _within_groups(
    reward: Float[Tensor, " batch"], group: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Each reward less its group's mean, and its group's standard deviation."""
    reward = reward.double()
    _, member = torch.unique(group, return_inverse=True)
    num_groups = int(member.max()) + 1 if len(member) else 0
    valid = ~reward.isnan()
    value = reward.masked_fill(~valid, 0.0)

    def per_group(x: Tensor) -> Tensor:
        return reward.new_zeros(num_groups).index_add(0, member, x)

    count = per_group(valid.double()).clamp(min=1)
    residual = (value - (per_group(value) / count)[member]).masked_fill(~valid, 0.0)
    # Rounding errors, of the rewards or of their mean, which a tiny std would blow up.
    residual = residual.masked_fill(~has_spread(reward, group)[member], 0.0)
    group_std = (per_group(residual.square()) / count).sqrt()[member]
    return residual.masked_fill(~valid, torch.nan), group_std


def _std(x: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """The population standard deviation of what is not NaN."""
    valid = x[~x.isnan()]
    return valid.std(correction=0) if len(valid) else x.new_zeros(())
