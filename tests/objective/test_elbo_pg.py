"""The ELBO and its policy losses against their equations."""

from dataclasses import replace
from inspect import unwrap
from types import SimpleNamespace

import pytest
import torch

from tests.objective.equations import latents, numbers, require_same, times
from tests.objective.says import one_step_rollout
from zoo.flow import noised
from zoo.objective.dgpo import DGPO
from zoo.objective.elbo_pg import ElboPG, elbo, elbo_policy_loss
from zoo.seeds import Draws

METHODS = ["epg", "pepg", "par", "epg_noratio", "pepg_noratio", "par_noratio"]


def equation(v, x, x0, noise, t, weighting):
    out = []
    for i in range(len(v)):
        off = x[i] - t[i] * v[i] - x0[i]
        error = ((v[i] - noise[i] + x0[i]) ** 2).mean()
        if weighting == "adaptive":
            out.append(-(off**2 / max(1e-5, float(off.detach().abs().mean()))).mean())
        elif weighting == "uniform":
            out.append(-error)
        elif weighting == "t":
            out.append(-(off**2).mean())
        else:
            out.append(-(1 - t[i]) / (t[i] + 1e-3) * error)
    return torch.stack(out)


@pytest.mark.parametrize("weighting", ["adaptive", "uniform", "t", "exact"])
def test_the_elbo_and_its_gradient_are_those_of_the_equations(weighting):
    v, x0, noise = latents(6, 3)
    t = times(6)
    x = noised(x0, noise, t)
    require_same(
        lambda u: elbo(u, x, x0, noise, t, weighting=weighting),
        lambda u: equation(u, x, x0, noise, t, weighting),
        v,
    )


def policy_equation(e, old, adv, method):
    ratio = torch.ones_like(e) if method.endswith("noratio") else torch.exp(e.detach() - old)
    delta = e.detach() - old
    if method.startswith("epg"):
        return -ratio * adv * e
    if method.startswith("pepg"):
        return -ratio * (adv - delta) * e
    return 0.5 * ratio * (adv - (e - old)) ** 2


@pytest.mark.parametrize("method", METHODS)
def test_the_policy_loss_and_its_gradient_are_those_of_the_equations(method):
    e, old, adv = -numbers(7).abs(), -numbers(7, 5).abs(), numbers(7, 6)
    require_same(
        lambda x: elbo_policy_loss(x, old, adv, method=method),
        lambda x: policy_equation(x, old, adv, method),
        e,
    )


def gradient(method):
    e = (-numbers(7).abs()).requires_grad_()
    loss = elbo_policy_loss(e, -numbers(7, 5).abs(), numbers(7, 6), method=method)
    return torch.autograd.grad(loss.sum(), e)[0]


def test_par_and_pepg_have_the_same_gradient():
    for end in ("", "_noratio"):
        torch.testing.assert_close(gradient(f"par{end}"), gradient(f"pepg{end}"))


def test_what_is_unknown_is_refused_with_what_there_is():
    v, x0, noise = latents(2, 3)
    with pytest.raises(ValueError, match=r"one of adaptive, uniform, t, exact, not 'l2'"):
        unwrap(elbo)(v, x0, x0, noise, times(2), weighting="l2")
    with pytest.raises(ValueError, match=r"method is one of epg, pepg, par, .*, not 'ppo'"):
        unwrap(elbo_policy_loss)(numbers(2), numbers(2), numbers(2), method="ppo")


def test_noise_is_asked_for_by_the_rows_own_names():
    """Drawn ahead is what is asked of the draws as they are given; a group's names are others."""
    made = one_step_rollout(torch.zeros(4, 1, 1, 1), torch.tensor([0, 0, 1, 1]))
    for objective, drawn_ahead in ((ElboPG(trained_steps=2), True), (DGPO(trained_steps=2), False)):
        rows = objective.rows(made, torch.ones(4).double(), Draws(0, "rows", 0, made.key))
        asked, numbers = [], torch.full((8, 1, 1, 1), 7.0)
        draws = Draws(0, "loss", 0, rows.key)
        ahead = SimpleNamespace(
            keys=rows.key, ask=lambda *a, to=asked, of=numbers: to.append(a) or of
        )
        noise = unwrap(type(rows).with_noise)(rows, replace(draws, ahead=ahead)).noise
        assert bool(asked) == drawn_ahead
        assert torch.equal(noise, numbers) == drawn_ahead
