"""DPO's other forms against their equations."""

from inspect import unwrap

import pytest
import torch

from tests.objective.equations import latents, numbers, require_same
from zoo.objective.dpo import (
    DPO,
    diffusion_dpo_loss,
    dmpo_loss,
    dspo_loss,
    linear_dpo_loss,
    loser_scale,
    mapo_loss,
)
from zoo.policy.digits import Digits
from zoo.rollout import Weights

FORMS = ["dpo", "linear", "sdpo", "dspo", "mapo", "dmpo"]


def errors(num=6):
    return [numbers(num, seed).abs() for seed in range(4)]


@pytest.mark.parametrize("eta", [0.0, 0.05])
def test_linear_dpo_and_its_gradient_are_those_of_the_equation(eta):
    win, ref_win, lose, ref_lose = errors()

    def equation(x):
        rows = []
        for i in range(6):
            d = (x[i] - lose[i]) - (ref_win[i] - ref_lose[i])
            c = min(max(0.2 * 3.0 * float(d.detach()) + 0.5, eta), 1 - eta)
            rows.append(c * (x[i] - lose[i]))
        return torch.stack(rows)

    require_same(
        lambda x: linear_dpo_loss(x, ref_win, lose, ref_lose, beta=3.0, eta=eta), equation, win
    )


def test_the_line_of_linear_dpo_is_half_where_live_is_the_reference():
    win, lose, *_ = errors()
    found = linear_dpo_loss(win, win, lose, lose, beta=5000.0, eta=0.05)
    torch.testing.assert_close(found, 0.5 * (win - lose))


@pytest.mark.parametrize("mu", [0.0, 0.6, 0.9, 1.0])
def test_the_losers_scale_is_that_of_the_equation(mu):
    win, lose = latents(12, 2)
    lose = 0.5 * win + lose
    found = loser_scale(win, lose, mu=mu)
    for i in range(12):
        along = float((win[i] * lose[i]).sum())
        wanted = min(max((1 - mu) * float((win[i] ** 2).sum()) / along, 0), 1) if along > 0 else 1.0
        assert float(found[i]) == pytest.approx(wanted, rel=1e-12)


def test_a_scaled_step_lowers_the_winners_error_by_what_is_promised():
    """(-g_win + scale g_lose) . g_win <= -mu |g_win|^2."""
    win, lose = latents(50, 2)
    scale = loser_scale(win, lose, mu=0.7)
    win, lose = win.flatten(1), lose.flatten(1)
    along = ((-win + scale[:, None] * lose) * win).sum(1)
    assert bool((scale < 1).any())
    scaled = scale < 1
    assert bool((along[scaled] <= -0.7 * win.square().sum(1)[scaled] + 1e-9).all())


@pytest.mark.parametrize(("form", "scale"), [("sd15", 1.0), ("sdxl", 1.0), ("sdxl", 0.1)])
def test_dspo_and_its_gradient_are_those_of_the_equation(form, scale):
    v, ref, target = latents(6, 3)
    ref = v + scale * ref

    def equation(x):
        def error(u, i):
            return ((u[i] - target[i]) ** 2).mean()

        moved = [((x[i] - ref[i]) ** 2).mean() for i in range(3)]
        rows = []
        for i in range(3):
            inside = (
                -0.5 * 0.8 * ((error(x, i) - error(x, i + 3)) - (error(ref, i) - error(ref, i + 3)))
            )
            left = 1 - torch.sigmoid(inside)
            if form == "sd15":
                off = x[i] - target[i] - 0.8 * left * (x[i] - ref[i])
                rows.append((off**2).mean())
            elif float(sum(moved).detach()) / 3 >= 0.1:
                rows.append(((left * (x[i] - ref[i])) ** 2).mean())
            else:
                rows.append(left**2)
        return torch.stack(rows)

    require_same(lambda x: dspo_loss(x, ref, target, beta=0.8, form=form), equation, v)


def test_mapo_and_its_gradient_are_those_of_the_equation():
    win, lose = (0.1 + error for error in errors()[:2])

    def equation(x):
        def odds(e):
            return 0.5 * e / (torch.exp(0.5 * e) - 1)

        return torch.stack(
            [
                x[i] - 0.1 * torch.log(torch.sigmoid(20 * (odds(x[i]) - odds(lose[i]))))
                for i in range(6)
            ]
        )

    require_same(lambda x: mapo_loss(x, lose, beta=0.1, c=0.5, steps=20), equation, win)


def test_dmpo_and_its_gradient_are_those_of_the_equation():
    def equation(u):
        p, q = 1 / (1 + torch.exp(-u)), 0.99
        return p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))

    require_same(lambda u: dmpo_loss(u, alpha=0.01), equation, numbers(9))
    assert float(dmpo_loss(torch.tensor(99 / 1.0).double().log().reshape(1), alpha=0.01)) < 1e-12


def test_an_unknown_form_of_dspo_is_refused():
    v, ref, target = latents(2, 3)
    with pytest.raises(ValueError, match="form is 'sd15' or 'sdxl', not 'flux'"):
        unwrap(dspo_loss)(v, ref, target, beta=1.0, form="flux")


@pytest.mark.parametrize("form", FORMS)
def test_a_form_holds_the_sets_that_it_reads(form):
    objective = DPO(form=form)
    assert (Weights.REFERENCE in objective.uses) == (form != "mapo")
    assert (Weights.REFERENCE in objective.moves) == (form != "mapo")


def test_sdpo_has_dpos_value_and_less_of_the_losers_gradient():
    win, ref_win, lose, ref_lose = errors()
    lose.requires_grad_()
    scaled = lose.detach() + 0.3 * (lose - lose.detach())
    loss = diffusion_dpo_loss(win, ref_win, scaled, ref_lose, beta=2.0)
    plain = diffusion_dpo_loss(win, ref_win, lose, ref_lose, beta=2.0)
    torch.testing.assert_close(loss, plain)
    (little,) = torch.autograd.grad(loss.sum(), lose)
    (whole,) = torch.autograd.grad(plain.sum(), lose)
    torch.testing.assert_close(little, 0.3 * whole)


def test_the_reference_of_the_linear_form_is_an_average():
    policy = Digits(torch.device("cpu"))
    objective = DPO(form="linear", ref_update=1, ref_decay=0.99)
    policy.weights.allocate(objective.moves, seed=0)
    live, reference = (
        policy.weights.parameters(which) for which in (Weights.LIVE, Weights.REFERENCE)
    )
    name = next(iter(live))
    with torch.no_grad():
        live[name] += 1.0
    before = reference[name].clone()
    objective.after_update(policy.weights, 1)
    torch.testing.assert_close(reference[name], 0.99 * before + 0.01 * live[name])
