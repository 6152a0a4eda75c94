"""KTO's loss against its equations, and who is liked."""

import pytest
import torch

from tests.objective.equations import numbers, require_same
from zoo.errors import MisfitError
from zoo.objective.kto import KTO, kto_loss
from zoo.rollout import Cond, Path, Rollout
from zoo.seeds import Draws


def equation(live, ref, liked, *, beta, weight_liked, weight_disliked):
    gains = [-(live[i] - ref[i]) for i in range(len(live))]
    k = max(0.0, float(sum(g.detach() for g in gains)) / len(gains))
    out = []
    for gain, like in zip(gains, liked.tolist(), strict=True):
        g = beta * (gain - k) * (1 if like else -1)
        out.append((weight_liked if like else weight_disliked) * (1 - 1 / (1 + torch.exp(-g))))
    return torch.stack(out)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_loss_and_its_gradient_are_those_of_the_equations(shift):
    live, ref = numbers(8).abs(), numbers(8, 5).abs() + shift
    liked = torch.tensor([True, False, True, True, False, False, True, False])
    options = {"beta": 2.0, "weight_liked": 1.0, "weight_disliked": 0.7}
    require_same(
        lambda x: kto_loss(x, ref, liked, **options),
        lambda x: equation(x, ref, liked, **options),
        live,
    )


def test_where_live_is_the_reference_the_loss_is_half_the_weight():
    error, liked = numbers(2).abs(), torch.tensor([True, False])
    found = kto_loss(error, error, liked, beta=1000.0, weight_liked=1.0, weight_disliked=3.0)
    assert found.tolist() == [0.5, 1.5]


def rollout(group, reward=None) -> Rollout:
    num = len(group)
    clean = torch.arange(float(num)).reshape(num, 1, 1, 1)
    given = None if reward is None else torch.tensor(reward).double()
    return Rollout(
        torch.arange(num), torch.tensor(group), Path(clean, 0), Cond({"i": torch.arange(num)}),
        reward=given,
    )  # fmt: skip


def rows(made, advantage, **options):
    draws = Draws(0, "rows", 0, made.key)
    return KTO(draws_per_image=1, **options).rows(made, torch.tensor(advantage).double(), draws)


def test_liked_is_what_is_better_than_its_group_and_the_mean_is_neither():
    found = rows(rollout([0, 0, 0, 0]), [1.0, -1.0, 0.0, float("nan")])
    assert found.liked.tolist()[:2] == [True, False]
    assert found.weight.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_single_images_are_liked_by_their_own_reward():
    made = rollout([0, 1, 2], [1.0, 0.0, float("nan")])
    found = rows(made, [0.0, 0.0, float("nan")], liked_from=0.5)
    assert found.liked.tolist()[:2] == [True, False]
    assert found.weight.tolist() == [1.0, 1.0, 0.0]


def test_single_images_cannot_be_compared():
    with pytest.raises(MisfitError, match=r"liked_from is null, .* write liked_from: 0.5"):
        rows(rollout([0, 1]), [0.0, 0.0])


def test_the_baseline_is_the_mean_gain_of_all_processes():
    found = rows(rollout([0, 0]), [1.0, -1.0])
    other = torch.tensor([[3.0, 1.0]], dtype=torch.float64)

    def gather(own):
        return torch.cat([own, other])

    measured = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert KTO().settle(found, measured, gather).baseline.tolist() == [2.0, 2.0]
    assert KTO().settle(found, -measured, gather).baseline.tolist() == [0.0, 0.0]
