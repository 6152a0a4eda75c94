"""From rewards to advantages: mixing several rewards, and measuring each image against its group.

Statistics are float64 with population standard deviations (ddof 0). NaN marks an invalid image: it
is left out of every statistic and stays NaN. GDPO: arXiv 2601.05242. GARDO, the scale by diversity
and the gate: arXiv 2512.24138.
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
    std: Literal["global", "group", "none"] = "global",
    eps: float = 1e-4,
) -> Float[Tensor, " batch"]:
    """(reward - mean of its group) / (std + eps), in float64.

    `std` is of all rewards as they are (not of the residuals), or of the image's group; with `none`
    nothing is divided by. A group whose rewards are all equal, as `has_spread` means it, gets
    exactly 0.
    """
    residual, group_std = _within_groups(reward, group)
    if std == "none":
        return residual
    if std == "group":
        return residual / (group_std + eps)
    if std == "global":
        return residual / (_std(reward.double()) + eps)
    raise ValueError(f"std is 'none', 'global' or 'group', not {std!r}")


def nearest_distance(
    features: Float[Tensor, "batch features"], group: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """1 less the cosine to the image of the same group that is most alike, in float64 in [0, 2].

    NaN where a group has one image alone. Features need not be normalised.
    """
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    away = 1 - (unit @ unit.T).clamp(-1, 1)
    others = (group[:, None] == group[None]) & ~torch.eye(
        len(group), dtype=torch.bool, device=group.device
    )
    nearest = away.masked_fill(~others, torch.inf).amin(1) if len(group) else away.new_zeros(0)
    return nearest.masked_fill(nearest.isinf(), torch.nan)


def diversity_scale(
    reward: Float[Tensor, " batch"], distance: Float[Tensor, " batch"], group: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """What GARDO multiplies advantages by: distance / its group's mean, of images above the mean.

    `distance` is of `nearest_distance`. 1 for images below their group's mean, for those without a
    distance, and where a group's images are all alike.
    """
    residual, _ = _within_groups(reward, group)
    valid = ~(reward.isnan() | distance.isnan())
    value = distance.double().masked_fill(~valid, 0.0)
    _, member = torch.unique(group, return_inverse=True)
    num_groups = int(member.max()) + 1 if len(member) else 0
    sums, counts = (
        value.new_zeros(num_groups).index_add(0, member, part) for part in (value, valid.double())
    )
    mean = (sums / counts.clamp(min=1))[member]
    scaled = valid & (residual >= 0) & (mean > 0)
    return torch.where(scaled, value / mean.clamp(min=torch.finfo(mean.dtype).tiny), 1.0)


def diversity_scaled(
    reward: Float[Tensor, " batch"],
    features: Float[Tensor, "batch features"],
    group: Int[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """GARDO's advantage: the reward less its group's mean, by `diversity_scale`; in float64.

    An image above the mean gains as it differs from its nearest neighbour in the group, by the
    cosine of a network's features. Nothing is divided by a deviation.
    """
    valid = ~reward.isnan()
    distance = torch.full_like(reward, torch.nan, dtype=torch.float64)
    distance[valid] = nearest_distance(features[valid], group[valid])
    scale = diversity_scale(reward, distance, group)
    return group_advantage(reward, group, std="none") * scale


def gate(
    reward: Float[Tensor, " batch"],
    held_out: Mapping[str, Float[Tensor, " batch"]],
    *,
    share: float,
) -> Float[Tensor, " batch"]:
    """How much the reference holds each image, 1 on average: 1 / share of the gated ones, else 0.

    An image's uncertainty is its win rate by the trained reward (the part of the batch that it is
    above) less its mean win rate by rewards that nothing is trained on: what the one praises and
    the others do not is likely a trick. Gated is the `share` of all valid images, at least one,
    that are most uncertain, if their uncertainty is not below 0.

    Departs from the published code, which ranks the best image 1 and gates where the trained rank
    is the larger, so images that the trained reward thinks worse of; and adapts the share.
    """
    scores = [reward, *held_out.values()]
    valid = ~torch.stack([score.isnan() for score in scores]).any(0)
    trained, *others = [_win_rate(score.double()[valid]) for score in scores]
    uncertainty = trained - torch.stack(others).mean(0)
    most = max(1, round(share * int(valid.sum())))
    order = uncertainty.argsort(descending=True, stable=True)[:most]
    chosen = order[uncertainty[order] >= 0]
    out = torch.zeros_like(reward, dtype=torch.float64)
    if len(chosen):
        out[valid.nonzero()[:, 0][chosen]] = int(valid.sum()) / len(chosen)
    return out


def _win_rate(score: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The part of the batch that each is above."""
    return torch.searchsorted(score.sort().values, score) / max(1, len(score))


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


def ranks(reward: Float[Tensor, " batch"], group: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Each image's rank in its group, from 0 for the worst to 1 for the best, in float64.

    It is the part of the others that an image is above, equals counting half: rewards that differ
    by no more than float32 rounds are equal. A group's only valid image has 0.5.
    """
    value, same = reward.double(), group[:, None] == group[None]
    both = same & ~(value.isnan()[:, None] | value.isnan()[None])
    size = _ROUNDING * torch.maximum(value.abs()[:, None], value.abs()[None])
    difference = value[:, None] - value[None]
    equal = difference.abs() <= size
    above = (both & ~equal & (difference > 0)).sum(1) + 0.5 * ((both & equal).sum(1) - 1)
    others = both.sum(1) - 1
    rank = torch.where(others > 0, above / others.clamp(min=1), 0.5)
    return rank.masked_fill(value.isnan(), torch.nan)


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
