"""DGPO's loss against its equations, and its groups."""

from inspect import unwrap

import pytest
import torch

from tests.objective.equations import latents, numbers, require_same
from tests.objective.says import Says
from tests.objective.says import one_step_rollout as rollout_of
from zoo.objective.dgpo import DGPO, dgpo_loss
from zoo.objective.kl import KL
from zoo.rollout import Rollout, Weights
from zoo.seeds import Draws


def equation(v, ref, v_kl, old, x0, noise, adv, group, *, beta, group_size, kl, clip, clip_policy,
             clip_kl):  # fmt: skip
    target, num = noise - x0, len(v)
    d, r, before = (((u - target) ** 2).flatten(1).mean(1) for u in (v, ref, old))
    total, held = 0.0, 0.0
    for i in range(num):
        s = sum(
            adv[j] * beta * (d[j].detach() - r[j]) / group_size
            for j in range(num)
            if group[j] == group[i]
        )
        w = 1 / (1 + torch.exp(-s))
        q = torch.exp(before[i] - d[i].detach())
        far = bool(q > 1 + clip) if adv[i] > 0 else bool(q < 1 - clip)
        total = total + w * adv[i] * (d[i].detach() if far and clip_policy else d[i])
        distance = ((v[i] - v_kl[i]) ** 2).mean()
        held = held + (distance.detach() if far and clip_kl else distance)
    return (total / num + kl * held / num).reshape(1)


@pytest.mark.parametrize(("clip_policy", "clip_kl"), [(False, False), (True, False), (True, True)])
def test_the_loss_and_its_gradient_are_those_of_the_equations(clip_policy, clip_kl):
    v, ref, v_kl, old, x0, noise = latents(9, 6)
    old = v + 0.05 * old
    adv, group = numbers(9), torch.tensor([4, 4, 7, 4, 7, 7, 2, 2, 2])
    adv[2] = 0.0
    options = {
        "beta": 3.0, "group_size": 3, "kl": 0.02, "clip": 0.01, "clip_policy": clip_policy,
        "clip_kl": clip_kl,
    }  # fmt: skip
    require_same(
        lambda u: dgpo_loss(u, ref, v_kl, old, x0, noise, adv, group, **options).reshape(1),
        lambda u: equation(u, ref, v_kl, old, x0, noise, adv, group, **options),
        v,
    )


GROUPS = torch.tensor([0, 0, 0, 1, 1, 1])


def rollout() -> Rollout:
    return rollout_of(torch.arange(6.0).reshape(6, 1, 1, 1), GROUPS)


@pytest.mark.parametrize("clip", ["none", "policy", "all"])
@pytest.mark.parametrize(("kl", "over"), [(0.02, "reference"), (0.0, "reference"), (0.02, "old")])
def test_what_trains_is_that_loss(clip, kl, over):
    """Measured before the update, and summed by group."""
    live, ref, old, x0 = (each.float() for each in latents(6, 4))
    policy = Says(live=live.requires_grad_(), reference=ref, old=live.detach() + 0.05 * old)
    objective = DGPO(
        beta=3.0, clip=clip, prefer_over=over, adv_clip=1.5, trained_steps=1,
        kl=KL(weight=kl, guidance=4.5),
    )  # fmt: skip
    made, adv = rollout_of(x0, GROUPS), 2 * numbers(6)
    rows = objective.rows(made, adv, Draws(0, "rows", 0, made.key))
    draws = Draws(0, "loss", 0, rows.key)
    with torch.no_grad():
        measured = objective.measure(policy, rows, draws)
    # What images are preferred over has the guidance of the distance, also where that weighs 0.
    assert policy.asked[1] == ((over, 1.0) if over == "old" else (over, 4.5))
    rows = objective.settle(rows, measured, lambda own: own)
    policy.asked.clear()
    found = objective.loss(policy, rows, draws).per_row.mean()
    asked = {who for who, _ in policy.asked}
    assert asked == {"live"} | ({"old"} if clip != "none" else set()) | (
        {"reference"} if kl else set()
    )
    wanted = dgpo_loss(
        live, policy.said[over], ref, policy.said["old"], x0, rows.with_noise(draws).noise,
        adv.clamp(-1.5, 1.5).float(), GROUPS, beta=3.0, group_size=3, kl=kl, clip=0.01,
        clip_policy=clip != "none", clip_kl=clip == "all",
    )  # fmt: skip
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    (gradient,), (wanted_,) = (torch.autograd.grad(x, live) for x in (found, wanted))
    torch.testing.assert_close(gradient, wanted_, rtol=1e-4, atol=1e-6)


def test_a_group_shares_its_noises_and_all_images_the_times():
    made = rollout()
    adv = torch.tensor([1.0, 0.0, -1.0, 2.0, -1.0, -1.0], dtype=torch.float64)
    rows = DGPO(trained_steps=2).rows(made, adv, Draws(0, "rows", 3, made.key))
    assert torch.equal(rows.unit, made.group.repeat_interleave(2))
    assert len(rows.key.unique()) == 12
    assert rows.noise_key.reshape(6, 2).tolist() == [[0, 1]] * 3 + [[2, 3]] * 3
    times = rows.t.reshape(6, 2)
    assert bool((times == times[0]).all())
    other = DGPO(trained_steps=2).rows(made, adv, Draws(0, "rows", 4, made.key)).t
    assert sorted({*rows.t.tolist(), *other.tolist()}) != sorted(set(rows.t.tolist()))


def test_the_preference_of_a_group_is_the_sum_over_its_images_at_a_noise():
    made = rollout()
    rows = DGPO(trained_steps=2).rows(made, torch.ones(6).double(), Draws(0, "rows", 0, made.key))
    measured = torch.arange(12.0, dtype=torch.float64)
    measured[3] = torch.nan  # of an invalid image
    found = DGPO().settle(rows, measured, lambda own: own).preference.reshape(6, 2)
    assert found.tolist() == [[6.0, 6.0]] * 3 + [[24.0, 27.0]] * 3


def test_the_average_of_live_collects_in_the_end():
    objective, blends = DGPO(switch=2), []

    class Sets:
        def blend(self, into, decay):
            blends.append((into, decay))

    for step in (1, 2):
        unwrap(DGPO.after_update)(objective, Sets(), step)
        assert objective.acts_with is Weights.LIVE
    unwrap(DGPO.after_update)(objective, Sets(), 3)
    assert objective.acts_with is Weights.OLD
    assert blends == [(Weights.OLD, 0.001), (Weights.OLD, 0.002), (Weights.OLD, 0.003)]
    again = DGPO(switch=2)
    again.load(objective.state())
    assert again.acts_with is Weights.OLD
