"""The DPO loss against the reference, and its choice of pairs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import reference
from zoo.flow import shifted
from zoo.objective.dpo import DPO, DPORows, diffusion_dpo_loss
from zoo.plan.geometry import StandIn
from zoo.rollout import Cond, Path, Rollout
from zoo.seeds import Draws

NAN = float("nan")


def rollout(groups: list[int]) -> Rollout:
    """Images whose latents and condition are their number."""
    num = len(groups)
    clean = torch.arange(num).float().reshape(num, 1, 1, 1)
    grid = torch.tensor([1.0, 0.0], dtype=torch.float64)
    cond = Cond({"image": torch.arange(num)})
    return Rollout(torch.arange(num), torch.tensor(groups), Path(clean, 1), cond, grid)


def pairs(reward: list[float], groups: list[int], per_group: int = 1, times: int = 1) -> DPORows:
    objective = DPO(pairs_per_group=per_group, draws_per_pair=times)
    made = rollout(groups)
    return objective.rows(made, torch.tensor(reward).double(), Draws(0, "rows", 0, made.key))


def images(lookup) -> list[int]:
    return lookup.rows().flatten().long().tolist()


@pytest.mark.parametrize("beta", [1.0, 100.0, 5000.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_the_loss_agrees_with_the_reference(dtype, tolerance, beta) -> None:
    generator = torch.Generator().manual_seed(0)
    errors = torch.rand(4, 100, generator=generator, dtype=torch.float64).to(dtype)
    found = diffusion_dpo_loss(*errors, beta=beta)
    wanted = reference.diffusion_dpo_loss(*(reference.array(e) for e in errors), beta=beta)
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("beta", [1.0, 5000.0])
def test_at_equal_errors_the_loss_is_ln_2(beta) -> None:
    win, lose = torch.rand(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = diffusion_dpo_loss(win, win, lose, lose, beta=beta)
    torch.testing.assert_close(found, torch.full((5,), math.log(2), dtype=torch.float64))


@pytest.mark.parametrize(("slot", "sign"), [(0, -1), (1, 1), (2, 1), (3, -1)])
def test_fitting_the_winner_better_than_the_loser_lowers_the_loss(slot, sign) -> None:
    errors: list[Tensor] = [torch.full((1,), 0.5) for _ in range(4)]
    even = float(diffusion_dpo_loss(*errors, beta=10.0))
    errors[slot] = errors[slot] + 0.1 * sign
    assert float(diffusion_dpo_loss(*errors, beta=10.0)) < even


def test_the_loss_of_nothing_is_nothing() -> None:
    assert diffusion_dpo_loss(*[torch.zeros(0)] * 4, beta=1.0).shape == (0,)


def test_the_best_meets_the_worst_of_its_group() -> None:
    rows = pairs([0.0, 3.0, 1.0, 9.0, 8.0, 7.0], [0, 0, 0, 1, 1, 1])
    assert (images(rows.win), images(rows.lose)) == ([1, 3], [0, 5])
    assert rows.weight.tolist() == [1.0, 1.0]
    assert rows.cond.tensors["image"].tolist() == [1, 3]


def test_interleaved_groups_keep_their_own_pairs() -> None:
    rows = pairs([0.0, 5.0, 2.0, 1.0, -1.0, 9.0], [4, 7, 4, 7, 4, 7])
    assert (images(rows.win), images(rows.lose)) == ([2, 5], [4, 3])
    assert rows.unit.tolist() == [4, 7]


def test_more_pairs_go_from_the_outside_in() -> None:
    rows = pairs([0.0, 1.0, 2.0, 3.0, 4.0], [0] * 5, per_group=2)
    assert (images(rows.win), images(rows.lose)) == ([4, 3], [0, 1])


@pytest.mark.parametrize(
    ("reward", "weight"),
    [
        ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0]),
        ([NAN, NAN, NAN, NAN], [0.0, 0.0]),
        ([NAN, 2.0, NAN, NAN], [0.0, 0.0]),
        ([NAN, 2.0, NAN, 1.0], [1.0, 0.0]),
        ([3.0, 2.0, NAN, 1.0], [1.0, 0.0]),
        ([1.0, 2.0, 2.0, 3.0], [1.0, 0.0]),
    ],
)
def test_pairs_without_a_preference_get_weight_zero(reward, weight) -> None:
    rows = pairs(reward, [0] * 4, per_group=2)
    assert rows.weight.tolist() == weight
    if weight[0]:
        assert (reward[images(rows.win)[0]], reward[images(rows.lose)[0]]) == (
            max(r for r in reward if r == r),
            min(r for r in reward if r == r),
        )


def test_every_pair_is_drawn_so_many_times_under_keys_of_its_own() -> None:
    rows = pairs([0.0, 1.0, 2.0, 3.0] * 2, [0] * 4 + [1] * 4, per_group=2, times=3)
    assert rows.key.tolist() == list(range(12))
    assert rows.unit.tolist() == [u for u in range(4) for _ in range(3)]
    assert images(rows.win) == [3] * 3 + [2] * 3 + [7] * 3 + [6] * 3


def test_too_small_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="pairs_per_group is 2, but group 5 has only 3 images"):
        pairs([0.0, 1.0, 2.0], [5, 5, 5], per_group=2)


def test_images_collected_with_guidance_are_learned_from_without() -> None:
    made = rollout([0, 0])
    guided = replace(made, cond=replace(made.cond, guidance=4.5))
    rows = DPO(draws_per_pair=2).rows(
        guided, torch.tensor([1.0, -1.0]).double(), Draws(0, "rows", 0, made.key)
    )
    assert rows.cond.guidance == 1.0
    assert images(rows.win) == [0, 0]


class WithGrid(StandIn):
    """Its times are those of a function of even ones; it remembers the times it is asked at."""

    def __init__(self, times) -> None:
        super().__init__()
        self.times, self.asked = times, []

    def grid(self, num_steps: int) -> Tensor:
        even = torch.linspace(1, 0.003, num_steps, dtype=torch.float64)
        return torch.cat([self.times(even), torch.zeros(1, dtype=torch.float64)])

    def velocity(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        self.asked.append(t)
        return super().velocity(x, t, cond)


def asked(times, **options) -> tuple[Tensor, Tensor]:
    """The times that a loss is taken at, and those of the draws without a shift."""
    policy = WithGrid(times)
    policy.weights.allocate([], seed=0, reference=True)
    rows = pairs([0.0, 1.0], [0, 0], times=50)
    draws = Draws(0, "loss", 0, rows.key)
    DPO(**options).loss(policy, rows, draws)
    return policy.asked[0], draws.at("t").normal().sigmoid().repeat(2)


@pytest.mark.parametrize("shift", [1.0, 3.0, 2.2])
def test_times_are_shifted_as_the_policys_own_grid(shift) -> None:
    found, even = asked(lambda even: shifted(even, shift))
    torch.testing.assert_close(found, shifted(even, shift))


def test_a_shift_that_is_written_is_taken_whatever_the_grid() -> None:
    found, even = asked(torch.square, shift=5.0)
    torch.testing.assert_close(found, shifted(even, 5.0))


@pytest.mark.parametrize("times", [torch.square, lambda even: 0.9 * even, torch.sqrt])
def test_of_a_grid_that_is_no_shifted_one_any_step_is_as_likely(times) -> None:
    found, _ = asked(times)
    steps = WithGrid(times).grid(1000)[:-1].float()
    place = (found[:, None] - steps).abs().argmin(1)
    torch.testing.assert_close(steps[place], found)
    assert len(place.unique()) > 0.9 * len(place) / 2
    # 50 places of 1,000, the mean of which has a deviation of 289 / sqrt(50).
    assert abs(float(place.float().mean()) - 500) < 3 * 289 / 50**0.5
