"""Advantages and mixes against the reference."""

import math
from inspect import unwrap

import numpy as np
import pytest
import torch

from tests import reference
from zoo.advantage import (
    banned,
    diversity_scaled,
    gate,
    group_advantage,
    has_spread,
    mix,
    nearest_distance,
    ranks,
)

NAN = float("nan")
REWARDS = {
    "plain": ([0.1, 0.9, 0.4, -2.0, 3.0, 1.0], [0, 0, 0, 1, 1, 1]),
    "interleaved": ([0.1, 0.9, 0.4, -2.0, 3.0, 1.0], [7, 3, 7, 3, 7, 3]),
    "unequal groups": ([5.0, 1.0, 2.0, 4.0, 8.0, 16.0], [0, 0, 0, 0, 1, 2]),
    "an invalid image": ([0.1, NAN, 0.4, -2.0, 3.0, NAN], [0, 0, 0, 1, 1, 1]),
    "an invalid group": ([NAN, NAN, NAN, -2.0, 3.0, 1.0], [0, 0, 0, 1, 1, 1]),
    "one valid of a group": ([NAN, NAN, 4.0, -2.0, 3.0, 1.0], [0, 0, 0, 1, 1, 1]),
    "all invalid": ([NAN, NAN], [0, 1]),
    "an equal group": ([0.1, 0.1, 0.1, -2.0, 3.0, 1.0], [0, 0, 0, 1, 1, 1]),
    "all equal": ([0.7] * 6, [0, 0, 0, 1, 1, 1]),
    "groups of one": ([1.0, 2.0, 3.0], [0, 1, 2]),
    "one image": ([1.0], [0]),
    "far from 0": ([1e6 + 1, 1e6 + 2, 1e6 + 3, 1e6], [0, 0, 1, 1]),
}


def rewards(name: str, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    reward, group = REWARDS[name]
    return torch.tensor(reward, dtype=dtype), torch.tensor(group)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("std", ["global", "group"])
@pytest.mark.parametrize("name", REWARDS)
def test_advantages_agree_with_the_reference(name, std, dtype) -> None:
    reward, group = rewards(name, dtype)
    found = group_advantage(reward, group, std=std)
    wanted = reference.group_advantage(reference.array(reward), group.numpy(), std=std)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("std", ["global", "group"])
def test_random_advantages_agree_with_the_reference(std) -> None:
    generator = torch.Generator().manual_seed(0)
    reward = torch.randn(120, generator=generator, dtype=torch.float64)
    reward[torch.rand(120, generator=generator) < 0.1] = NAN
    group = torch.randint(9, (120,), generator=generator)
    for eps in (1e-4, 0.5):
        found = group_advantage(reward, group, std=std, eps=eps)
        wanted = reference.group_advantage(reward.numpy(), group.numpy(), std=std, eps=eps)
        np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("std", ["global", "group"])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-30, 12345.678])
def test_an_all_equal_group_gets_exactly_zero(value, std) -> None:
    reward = torch.tensor([value] * 7 + [0.0, 1.0], dtype=torch.float64)
    advantage = group_advantage(reward, torch.tensor([0] * 7 + [1, 1]), std=std)
    assert torch.equal(advantage[:7], torch.zeros(7, dtype=torch.float64))
    assert bool((advantage[7:] != 0).all())


def test_the_global_spread_is_that_of_the_rewards_and_not_of_the_residuals() -> None:
    reward, group = torch.tensor([0.0, 1.0, 100.0, 101.0]), torch.tensor([0, 0, 1, 1])
    advantage = group_advantage(reward, group, std="global")
    spread = float(reward.double().std(correction=0))
    torch.testing.assert_close(advantage[1], torch.tensor(0.5 / (spread + 1e-4)).double())


def test_invalid_images_do_not_touch_the_others() -> None:
    reward, group = torch.tensor([0.0, 1.0, NAN, 3.0]), torch.tensor([0, 0, 0, 0])
    for std in ("global", "group"):
        kept = group_advantage(reward[[0, 1, 3]], group[:3], std=std)
        torch.testing.assert_close(group_advantage(reward, group, std=std)[[0, 1, 3]], kept)


@pytest.mark.parametrize("std", ["global", "group"])
def test_no_rewards_give_no_advantages(std) -> None:
    none = torch.zeros(0)
    assert group_advantage(none, torch.zeros(0, dtype=torch.long), std=std).shape == (0,)


@pytest.mark.parametrize("how", ["sum", "gdpo"])
@pytest.mark.parametrize("name", REWARDS)
def test_mixes_agree_with_the_reference(name, how) -> None:
    reward, group = rewards(name)
    generator = torch.Generator().manual_seed(1)
    other = torch.randn(len(reward), generator=generator, dtype=torch.float64)
    other[-1] = NAN if name == "plain" else other[-1]
    scores, weights = {"a": reward, "b": other.float()}, {"a": 0.5, "b": 2.0}
    found = mix(scores, weights, group, how=how)
    arrays = {label: reference.array(score) for label, score in scores.items()}
    wanted = reference.mix(arrays, weights, group.numpy(), how=how)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("how", ["sum", "gdpo"])
def test_an_image_with_any_invalid_score_is_invalid(how) -> None:
    scores = {"a": torch.tensor([0.0, NAN, 2.0, 3.0]), "b": torch.tensor([1.0, 5.0, NAN, 0.0])}
    mixed = mix(scores, {"a": 1.0, "b": 0.0}, torch.zeros(4, dtype=torch.long), how=how)
    assert mixed.isnan().tolist() == [False, True, True, False]


def test_gdpo_does_not_starve_a_reward_of_small_spread() -> None:
    group = torch.tensor([0] * 4)
    small = torch.tensor([0.0, 1e-2, 0.0, 1e-2], dtype=torch.float64)
    large = torch.tensor([0.0, 0.0, 1e4, 1e4])
    mixed = mix({"s": small, "l": large}, {"s": 1.0, "l": 1.0}, group, how="gdpo", eps=1e-9)
    assert abs(float(mixed[1] - mixed[2])) < 1e-6
    assert mixed[0] + 1 < mixed[1] < mixed[3] - 1


def test_gdpo_keeps_all_equal_groups_without_signal() -> None:
    group = torch.tensor([0, 0, 0, 1, 1, 1])
    scores = {"a": torch.tensor([0.1] * 3 + [0.0, 1.0, 5.0]), "b": torch.tensor([0.7] * 6)}
    mixed = mix(scores, {"a": 1.0, "b": 3.0}, group, how="gdpo")
    assert torch.equal(group_advantage(mixed, group)[:3], torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("weights", [{}, {"a": 1.0, "b": 1.0}, {"b": 1.0}])
def test_scores_and_weights_must_have_the_same_names(weights) -> None:
    with pytest.raises(ValueError, match=r"scores \['a'\] and weights"):
        mix({"a": torch.zeros(1)}, weights, torch.zeros(1, dtype=torch.long))


# Under pytest the annotations refuse these first, which they do not in a run.
@pytest.mark.parametrize("wrong", ["batch", "", "Global"])
def test_an_unknown_std_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=f"'global' or 'group', not '{wrong}'"):
        unwrap(group_advantage)(torch.zeros(1), torch.zeros(1, dtype=torch.long), std=wrong)


def test_an_unknown_mix_is_refused() -> None:
    with pytest.raises(ValueError, match="'sum' or 'gdpo', not 'mean'"):
        unwrap(mix)({"a": torch.zeros(1)}, {"a": 1.0}, torch.zeros(1, dtype=torch.long), how="mean")


@pytest.mark.parametrize("how", ["sum", "gdpo"])
def test_rewards_that_differ_by_rounding_alone_are_equal(how) -> None:
    generator = torch.Generator().manual_seed(0)
    reward = torch.full((48,), 0.35) + 1e-8 * torch.randn(48, generator=generator)
    group = torch.arange(48) // 16
    assert len(reward.unique()) > 1
    assert not bool(has_spread(reward, group).any())
    mixed = mix({"a": reward}, {"a": 1.0}, group, how=how)
    assert not bool(group_advantage(mixed, group).any())


def test_a_group_has_spread_where_its_valid_rewards_differ() -> None:
    reward = torch.tensor([1.0, 1.0, NAN, 2.0, 2.001, NAN, NAN, 3.0, 0.0, 0.0])
    group = torch.tensor([7, 7, 7, 2, 2, 4, 4, 5, 9, 9])
    assert has_spread(reward, group).tolist() == [True, False, False, False, False]


def test_groups_that_are_all_alike_or_good_already_are_banned():
    reward = torch.tensor([0.5, 0.58, 0.1, 0.9, 0.95, 0.85, torch.nan, 1.0])
    group = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    alike = banned(reward, group, std_at_most=0.05)
    assert alike.tolist() == [True, True, False, False, True, True, True, True]
    good = banned(reward, group, mean_at_least=0.9)
    assert good.tolist() == [False, False, False, False, True, True, True, True]
    both = banned(reward, group, std_at_most=0.03, mean_at_least=0.95)
    assert both.tolist() == [False, False, False, False, False, False, True, True]
    assert not banned(reward, group).any()


def test_without_a_deviation_it_is_the_reward_less_its_groups_mean():
    reward = torch.tensor([1.0, 3.0, NAN, 5.0, 5.0, 5.0], dtype=torch.float64)
    group = torch.tensor([0, 0, 0, 1, 1, 1])
    found = group_advantage(reward, group, std="none")
    np.testing.assert_array_equal(found, [-1.0, 1.0, NAN, 0.0, 0.0, 0.0])


# By hand: of group 0 the first two point the same way, and the third at right angles to both; of
# group 1 the two are at 60 degrees.
FEATURES = torch.tensor(
    [[2.0, 0.0], [5.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.float64
)
GROUP = torch.tensor([0, 0, 0, 1, 1])


def test_the_nearest_of_a_group_is_by_the_cosine():
    found = nearest_distance(FEATURES, GROUP)
    np.testing.assert_allclose(found, [0.0, 0.0, 1.0, 0.5, 0.5], atol=1e-12)
    alone = nearest_distance(FEATURES[:1], GROUP[:1])
    assert alone.isnan().tolist() == [True]


def test_diversity_scales_what_is_above_its_groups_mean_alone():
    """GARDO: distance / the group's mean distance; the mean of group 0 is 1/3, of group 1 1/2."""
    reward = torch.tensor([4.0, 0.0, 5.0, 1.0, 2.0], dtype=torch.float64)
    found = diversity_scaled(reward, FEATURES, GROUP)
    # Group 0 has mean 3: 1 x 0, -3 as it is, 2 x 3; group 1 has mean 1.5: each is as far.
    np.testing.assert_allclose(found, [0.0, -3.0, 6.0, -0.5, 0.5], atol=1e-12)


def test_an_invalid_image_is_nobodys_neighbour():
    reward = torch.tensor([4.0, NAN, 5.0, 1.0, 2.0], dtype=torch.float64)
    found = diversity_scaled(reward, FEATURES, GROUP)
    # The first and the third are now each other's nearest, at distance 1, the mean of both.
    np.testing.assert_allclose(found, [-0.5, NAN, 0.5, -0.5, 0.5], atol=1e-12)


def test_a_group_of_copies_is_not_scaled():
    reward = torch.tensor([1.0, 3.0], dtype=torch.float64)
    same = torch.ones(2, 4, dtype=torch.float64)
    found = diversity_scaled(reward, same, torch.zeros(2).long())
    np.testing.assert_allclose(found, [-1.0, 1.0])


def test_the_gate_holds_what_the_trained_reward_alone_praises():
    """By hand: win rates of the third are 3/4 and 0, so it is the most uncertain; then the last."""
    trained = torch.tensor([0.1, 0.2, 0.9, 0.5], dtype=torch.float64)
    held_out = torch.tensor([4.0, 3.0, 1.0, 2.0], dtype=torch.float64)
    assert gate(trained, {"a": held_out}, share=0.25).tolist() == [0.0, 0.0, 4.0, 0.0]
    assert gate(trained, {"a": held_out}, share=0.5).tolist() == [0.0, 0.0, 2.0, 2.0]
    # Below 0 are those that the others praise more: they are never gated.
    assert gate(trained, {"a": held_out}, share=1.0).tolist() == [0.0, 0.0, 2.0, 2.0]


def test_the_gate_is_one_on_average_over_valid_images():
    trained = torch.tensor([0.1, NAN, 0.9, 0.5, 0.3], dtype=torch.float64)
    others = {
        "a": torch.tensor([4.0, 9.0, 1.0, 2.0, NAN]).double(),
        "b": torch.tensor([4.0, 9.0, 2.0, 1.0, 7.0]).double(),
    }
    found = gate(trained, others, share=0.34)
    assert found.tolist() == [0.0, 0.0, 3.0, 0.0, 0.0]


def test_where_all_agree_the_gate_holds_all_that_it_may():
    score = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    assert float(gate(score, {"a": score}, share=0.5).sum()) == 4.0


def test_a_rank_is_the_part_of_the_group_that_an_image_is_above():
    reward = torch.tensor([3.0, 1.0, 2.0, 10.0, -5.0, 7.0], dtype=torch.float64)
    group = torch.tensor([0, 0, 0, 1, 1, 2])
    assert ranks(reward, group).tolist() == [1.0, 0.0, 0.5, 1.0, 0.0, 0.5]


def test_equal_rewards_share_a_rank_and_rounding_parts_none():
    reward = torch.tensor([1.0, 1.0 + 1e-9, 2.0, 0.0])
    assert ranks(reward, torch.zeros(4, dtype=torch.long)).tolist() == [0.5, 0.5, 1.0, 0.0]
    same = torch.full((5,), 0.3)
    assert ranks(same, torch.zeros(5, dtype=torch.long)).tolist() == [0.5] * 5


def test_invalid_images_have_no_rank_and_no_say():
    reward = torch.tensor([1.0, torch.nan, 2.0, torch.nan, 4.0])
    group = torch.tensor([0, 0, 0, 1, 1])
    found = ranks(reward, group).tolist()
    assert [found[i] for i in (0, 2, 4)] == [0.0, 1.0, 0.5]
    assert all(math.isnan(found[i]) for i in (1, 3))


def test_ranks_do_not_change_with_the_scale_of_a_reward():
    reward = torch.randn(24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    group = torch.arange(4).repeat(6)
    assert torch.equal(ranks(reward, group), ranks(torch.exp(5 * reward), group))
    assert float(ranks(reward, group).mean()) == pytest.approx(0.5)
