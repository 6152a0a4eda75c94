"""CRD's loss against its equations, and its centres."""

import pytest
import torch
from torch import nn

from tests.objective.equations import latents, numbers, require_same
from tests.objective.says import Says, one_step_rollout
from zoo.objective.crd import CRD, centre_weights, crd_kl, crd_loss
from zoo.objective.kl import KL
from zoo.policy.weights import WeightSets
from zoo.rollout import Cond, Path, Rollout, Weights
from zoo.seeds import Draws


def softmax(values):
    weights = [torch.exp(value) for value in values]
    return [weight / sum(weights) for weight in weights]


def shares(good, temp, split):
    """Of each centre, each image's weight."""
    num = len(good)
    even = [1 / num] * num
    if temp < 0:
        return [even]
    if temp > 0:
        return [softmax([sign * g / temp for g in good]) for sign in (1, -1)]
    out = []
    for chosen in ([g > split for g in good], [g < split for g in good]):
        inside = [g for g, c in zip(good, chosen, strict=True) if c]
        left = iter(softmax(inside)) if inside else iter(())
        out.append([next(left) if c else 0.0 for c in chosen] if inside else even)
    return out


def equation(v, old, x0, noise, adv, *, beta, weight_temp, kind, adaptive, adv_clip, split=0.5):
    num = len(v)
    good = [min(max(float(a), -adv_clip), adv_clip) / adv_clip / 2 + 0.5 for a in adv]
    good = [torch.tensor(g, dtype=torch.float64) for g in good]
    implicit = []
    for i in range(num):
        off, before = v[i] - (noise[i] - x0[i]), old[i] - (noise[i] - x0[i])
        w, w_old = (
            max(1e-5, float(o.detach().abs().mean())) if adaptive else 1.0 for o in (off, before)
        )
        implicit.append(-((off**2) / w - before**2 / w_old).mean())
    total = 0.0
    centres = shares(good, weight_temp, split)
    for p in centres:
        good_centre = sum(share * g for share, g in zip(p, good, strict=True))
        centre = sum(share * r.detach() for share, r in zip(p, implicit, strict=True))
        for i in range(num):
            found, wanted = beta * (implicit[i] - centre), good[i] - good_centre
            if kind == "mse":
                off = (found - wanted) ** 2
            else:
                q, s = torch.sigmoid(wanted), torch.sigmoid(found)
                off = -(q * torch.log(s) + (1 - q) * torch.log(1 - s))
            total = total + off / num / len(centres)
    return (total * adv_clip / beta).reshape(1)


@pytest.mark.parametrize("kind", ["mse", "bce"])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize(("temp", "split"), [(-1.0, 0.5), (0.0, 0.5), (0.0, 0.0), (0.3, 0.5)])
def test_the_loss_and_its_gradient_are_those_of_the_equations(temp, split, adaptive, kind):
    v, old, x0, noise = latents(5, 4)
    adv = numbers(5, scale=3.0)
    options = {
        "beta": 0.8, "weight_temp": temp, "kind": kind, "adaptive": adaptive, "adv_clip": 5.0,
        "split": split,
    }  # fmt: skip
    require_same(
        lambda u: crd_loss(u, old, x0, noise, adv, **options).reshape(1),
        lambda u: equation(u, old, x0, noise, adv, **options),
        v,
    )


@pytest.mark.parametrize("kind", ["mse", "bce"])
@pytest.mark.parametrize("temp", [-1.0, 0.0, 0.3])
def test_what_trains_is_that_loss(temp, kind):
    """Of a group; its centre is measured before the update."""
    live, old, x0 = (each.float() for each in latents(5, 3))
    policy, adv = Says(live=live.requires_grad_(), old=old), numbers(5, scale=3.0)
    objective = CRD(beta=0.8, weight_temp=temp, kind=kind, trained_steps=1, kl=KL(weight=0.0))
    made = one_step_rollout(x0, torch.zeros(5, dtype=torch.long))
    rows = objective.rows(made, adv, Draws(0, "rows", 0, made.key))
    # Each image has a noise and a time of its own, and one draw is one place.
    draws = Draws(0, "loss", 0, rows.key)
    with torch.no_grad():
        measured = objective.measure(policy, rows, draws)
    rows = objective.settle(rows, measured, lambda own: own)
    found = objective.loss(policy, rows, draws).per_row.mean()
    wanted = crd_loss(
        live, old, x0, rows.with_noise(draws).noise, adv.float(), beta=0.8, weight_temp=temp,
        kind=kind, adaptive=objective.adaptive, adv_clip=objective.adv_clip, split=objective.split,
    )  # fmt: skip
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    (gradient,), (wanted_,) = (torch.autograd.grad(x, live) for x in (found, wanted))
    torch.testing.assert_close(gradient, wanted_, rtol=1e-4, atol=1e-6)


def test_the_distance_grows_with_the_optimality():
    v, ref = latents(3, 2)
    good = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)

    def equation(u):
        m = 1e-4 / 0.1
        return torch.stack(
            [0.1 * (m + good[i] * (1 - m)) * ((u[i] - ref[i]) ** 2).mean() for i in range(3)]
        )

    require_same(lambda u: crd_kl(u, ref, good, kl=0.1, adaptive=True), equation, v)
    plain = crd_kl(v, ref, good, kl=0.1, adaptive=False)
    torch.testing.assert_close(plain, 0.1 * (v - ref).square().flatten(1).mean(1))


def test_without_better_images_the_centre_is_the_mean():
    found = centre_weights(torch.full((4,), 0.5), weight_temp=0.0)
    assert found.tolist() == [[0.25, 0.25]] * 4


@pytest.mark.parametrize("temp", [-1.0, 0.0, 0.5])
def test_centred_rewards_of_a_group_sum_to_zero_and_invalid_images_have_no_say(temp):
    clean = torch.arange(6.0).reshape(6, 1, 1, 1)
    grid = torch.linspace(1, 0, 5, dtype=torch.float64)
    made = Rollout(
        torch.arange(6), torch.tensor([0, 0, 0, 1, 1, 1]), Path(clean, 4),
        Cond({"image": torch.arange(6)}), grid,
    )  # fmt: skip
    adv = torch.tensor([1.0, torch.nan, -1.0, 2.0, -1.0, -1.0], dtype=torch.float64)
    objective = CRD(weight_temp=temp, trained_steps=2)
    rows = objective.rows(made, adv, Draws(0, "rows", 0, made.key))
    assert rows.share.reshape(6, 2, -1)[1].abs().sum() == 0
    measured = torch.arange(12.0, dtype=torch.float64)
    measured[2:4] = torch.nan
    rows = objective.settle(rows, measured, lambda own: own)
    for place in rows.place.unique():
        of = rows.place == place
        torch.testing.assert_close(rows.share[of].sum(0), torch.ones_like(rows.share[0]))
        # What is taken away is the weighted mean, so what is left has a weighted mean of 0.
        left = (rows.share * rows.target)[of & (rows.weight > 0)].sum(0)
        assert float(left.abs().max()) < 1e-6
        of_rewards = measured.nan_to_num().float()[:, None] - rows.centre
        assert float((rows.share * of_rewards)[of].sum(0).abs().max()) < 1e-5


def followed(objective, step):
    """How much of each set stays in the epoch that ends at that step."""
    network = nn.Linear(1, 1, bias=False)
    weights = WeightSets(network, None)
    weights.allocate(objective.moves, seed=0)
    for which, value in ((Weights.LIVE, 0.0), *((moved, 1.0) for moved in objective.moves)):
        with torch.no_grad():
            weights.parameters(which)["weight"].fill_(value)
    objective.after_epoch(weights, step)
    return {which: float(weights.parameters(which)["weight"]) for which in objective.moves}


@pytest.mark.parametrize(
    ("step", "old", "sampling"), [(74, 0.62, 0.0), (79, 0.645, 0.03), (1000, 0.999, 0.999)]
)
def test_the_weights_that_collect_are_live_for_75_updates_and_then_lag(step, old, sampling):
    objective = CRD()
    assert objective.acts_with is Weights.SAMPLING
    expected = {Weights.OLD: pytest.approx(old), Weights.SAMPLING: pytest.approx(sampling)}
    assert followed(objective, step) == expected


def test_where_live_collects_no_third_set_is_held():
    objective = CRD(collect_with="live")
    assert objective.acts_with is Weights.LIVE
    assert followed(objective, 74).keys() == {Weights.OLD}
