"""AWM's loss against its equations, and its rows."""

import math
from inspect import unwrap

import pytest
import torch

from tests.objective.equations import latents, numbers, require_same, times
from zoo.objective.awm import awm_loss, matching_error


def weighted(error, t, weighting, power):
    if weighting == "uniform":
        return error
    if weighting == "t":
        return t * error
    if weighting == "t**2":
        return t * t * error
    if weighting == "huber":
        return t * (torch.sqrt(error + 1e-10) - 1e-5)
    return t / power * ((error + 1e-10) ** power - 1e-10**power)


def equation(v, old, x0, noise, t, adv, *, weighting, power, clip, adv_clip, advantage_max):
    out = []
    for i in range(len(v)):
        errors = [((u[i] - (noise[i] - x0[i])) ** 2).mean() for u in (v, old)]
        logp, logp_old = (-weighted(e, t[i], weighting, power) for e in errors)
        ratio = torch.exp(logp - logp_old.detach())
        a = min(max(float(adv[i]), -adv_clip), adv_clip) / adv_clip * advantage_max
        clipped = torch.clamp(ratio, 1 - clip, 1 + clip)
        out.append(torch.max(-a * ratio, -a * clipped))
    return torch.stack(out)


@pytest.mark.parametrize("weighting", ["ghuber", "huber", "uniform", "t", "t**2"])
@pytest.mark.parametrize("clip", [1.0, 0.05])
def test_the_loss_and_its_gradient_are_those_of_the_equations(weighting, clip):
    v, old, x0, noise = latents(8, 4)
    old = v + 0.2 * old
    adv, t = numbers(8, scale=4.0), times(8)
    options = {
        "weighting": weighting, "power": 0.25, "clip": clip, "adv_clip": 5.0, "advantage_max": 0.7,
    }  # fmt: skip
    require_same(
        lambda x: awm_loss(x, old, x0, noise, t, adv, **options),
        lambda x: equation(x, old, x0, noise, t, adv, **options),
        v,
    )


def test_on_policy_the_ratio_is_one_and_the_loss_is_less_the_advantage():
    v, x0, noise = latents(3, 3)
    adv = torch.tensor([10.0, -2.5, 0.0], dtype=torch.float64)
    found = awm_loss(
        v, v, x0, noise, times(3), adv,
        weighting="ghuber", power=0.25, clip=1.0, adv_clip=5.0, advantage_max=1.0,
    )  # fmt: skip
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.5, 0.0], dtype=torch.float64))


def test_a_perfect_prediction_has_a_finite_gradient():
    x0, noise = latents(2, 2)
    v = (noise - x0).requires_grad_()
    for weighting in ("ghuber", "huber"):
        error = matching_error(v, x0, noise, times(2), weighting=weighting, power=0.25)
        assert error.tolist() == [0.0, 0.0]
        (gradient,) = torch.autograd.grad(error.sum(), v)
        assert math.isfinite(float(gradient.abs().max()))


def test_an_unknown_weighting_is_refused_with_those_there_are():
    x0, noise = latents(2, 2)
    with pytest.raises(ValueError, match=r"one of ghuber, huber, .*, not 'l2'"):
        unwrap(matching_error)(x0, x0, noise, times(2), weighting="l2", power=0.25)
