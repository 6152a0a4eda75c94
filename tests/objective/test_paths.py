"""GRPO-Guard and Flow-DPPO against their equations, and what paths keep for them."""

import pytest
import torch

from tests.objective.equations import latents, numbers, require_same
from tests.runs import ROOT
from tests.train_here import ONE_UPDATE, epoch_here, recipe
from zoo.objective.flow_dppo import dppo_loss
from zoo.objective.flow_grpo import FlowGRPO
from zoo.objective.grpo_guard import GRPOGuard, guard_loss
from zoo.plan.geometry import StandIn
from zoo.rollout import Cond, Rollout
from zoo.sampler.ode import Euler
from zoo.sampler.sde import CPS, DDIM, DanceSDE, FlowSDE
from zoo.sampler.window import SDEWindow
from zoo.seeds import Draws
from zoo.training.build import build


def steps(num=8, drift=0.05):
    """Means before and now, deviations, what was reached, and its log-probability then."""
    before, moved, noise = latents(num, 3)
    std = 0.2 + numbers(num).abs()
    over = std.reshape(-1, 1, 1, 1)
    reached = before + over * noise
    return before, before + drift * moved, std, reached


def log_prob(reached, mean, std):
    return torch.stack(
        [
            (-0.5 * ((reached[i] - mean[i]) / std[i]) ** 2 - torch.log(std[i])).mean()
            for i in range(len(mean))
        ]
    )


@pytest.mark.parametrize("clip", [2e-6, 0.01])
def test_guard_and_its_gradient_are_those_of_the_equations(clip):
    before, mean, std, reached = steps()
    dt, adv = -0.05 - numbers(8, 7).abs() / 10, numbers(8, 6, 4.0)
    old = log_prob(reached, before, std)

    def equation(m):
        rows = []
        for i in range(8):
            # exp(mean_d(eps (mean - mean_old))): linear in the noise, the same scale at every step.
            eps = (reached[i] - before[i]) / std[i]
            ratio = torch.exp((eps * (m[i] - before[i])).mean())
            a = min(max(float(adv[i]), -5.0), 5.0)
            clipped = torch.clamp(ratio, 1 - clip, 1 + clip)
            rows.append(torch.max(-a * ratio, -a * clipped) / -dt[i])
        return torch.stack(rows)

    def found(m):
        logp = log_prob(reached, m, std)
        return guard_loss(logp, old, m, before, std, dt, adv, clip=clip, adv_clip=5.0)

    require_same(found, equation, mean)


def test_a_rows_ratio_does_not_depend_on_the_others():
    before, mean, std, reached = steps()
    old, new = log_prob(reached, before, std), log_prob(reached, mean, std)
    dt, adv = torch.full((8,), -0.1, dtype=torch.float64), numbers(8, 6)
    options = {"clip": 0.5, "adv_clip": 5.0}
    whole = guard_loss(new, old, mean, before, std, dt, adv, **options)
    for i in range(8):
        row = slice(i, i + 1)
        alone = guard_loss(
            new[row], old[row], mean[row], before[row], std[row], dt[row], adv[row], **options
        )
        torch.testing.assert_close(alone, whole[row])


def test_a_steps_deviation_may_have_the_latents_axes_or_be_of_all_rows():
    before, mean, std, reached = steps()
    old, new = log_prob(reached, before, std), log_prob(reached, mean, std)
    adv, dt = numbers(8, 6), torch.full((8,), -0.1, dtype=torch.float64)
    over = std.reshape(8, 1, 1, 1)
    guards = [
        guard_loss(new, old, mean, before, s, d, adv, clip=0.1, adv_clip=5.0)
        for s, d in ((std, dt), (over, dt.reshape(8, 1, 1, 1)), (std, dt[0]))
    ]
    bounded = [dppo_loss(new, old, mean, before, s, adv, threshold=1e-3) for s in (std, over)]
    for first, *others in (guards, bounded):
        for each in others:
            torch.testing.assert_close(each, first)


def test_dppo_and_its_gradient_are_those_of_the_equations():
    before, mean, std, reached = steps(num=40)
    adv, old = numbers(40, 6), log_prob(reached, before, std)
    threshold = 5e-4

    def rows(m):
        logp, out, dropped = log_prob(reached, m, std), [], 0
        for i in range(40):
            ratio = torch.exp(logp[i] - old[i])
            k = float(((m[i] - before[i]) ** 2).mean().detach() / (2 * std[i] ** 2))
            onwards = (ratio > 1 and adv[i] > 0) or (ratio < 1 and adv[i] < 0)
            keep = not (k >= threshold and onwards)
            dropped += not keep
            out.append(-adv[i] * ratio * float(keep))
        return torch.stack(out), dropped

    assert 5 < rows(mean)[1] < 35

    def found(m):
        logp = log_prob(reached, m, std)
        return dppo_loss(logp, old, m, before, std, adv, threshold=threshold)

    require_same(found, lambda m: rows(m)[0], mean)


@pytest.mark.parametrize("solver", [FlowSDE(), DanceSDE(), DDIM(), CPS()])
def test_a_path_keeps_the_means_of_its_transitions(solver):
    def field(x, t):
        return torch.tanh(x) * (1 + t.to(x))

    grid = torch.linspace(1, 0, 5, dtype=torch.float64)
    draws = Draws(0, "collect", 0, torch.arange(3))
    path = solver.integrate(field, draws.at("x").normal((2, 2)), grid, draws)
    assert path.mean.shape == (3, 4, 2, 2)
    for i in range(3):
        x = path.x[:, i]
        gaussian = solver.transition(field(x, grid[i]), x, grid[i], grid[i + 1], grid)
        torch.testing.assert_close(path.mean[:, i], gaussian.mean)
        noise = (path.x[:, i + 1] - path.mean[:, i]) / gaussian.std
        torch.testing.assert_close(noise, draws.at(i).normal((2, 2)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "kept"), [("flow_grpo", False), ("grpo_guard", True)])
def test_means_are_kept_for_who_asks_for_them(name, kept, monkeypatch):
    seen = []
    cls = {"flow_grpo": FlowGRPO, "grpo_guard": GRPOGuard}[name]
    rows = cls.rows

    def watch(self, rollout, advantage, draws):
        seen.append(rollout.path.mean is not None)
        return rows(self, rollout, advantage, draws)

    monkeypatch.setattr(cls, "rows", watch)
    made = build(recipe(ROOT / "recipes" / f"{name}_digits.yaml", **ONE_UPDATE))
    epoch_here(made.stages[0])
    assert seen == [kept]


class Still(StandIn):
    """Whose velocity does not depend on its weights' values, but for a gradient."""

    def velocity(self, x, t, cond):
        return 0.0 * super().velocity(x, t, cond) + 0.1


def test_tempflow_weighs_a_step_by_its_noise():
    """The loss at ratio 1 is less the advantage, times 2.25 times the step's deviation."""
    policy, solver = Still(), FlowSDE()
    policy.weights.allocate((), seed=0, reference=False)
    grid = torch.linspace(1, 0, 5, dtype=torch.float64)
    draws = Draws(0, "collect", 0, torch.arange(2))

    def field(x, t):
        return policy.velocity(x, t.to(x).expand(len(x)), Cond({}))

    with torch.no_grad():
        path = solver.integrate(field, draws.at("x").normal((1,)), grid, draws)
    made = Rollout(torch.arange(2), torch.zeros(2).long(), path, Cond({}), grid)
    adv = torch.tensor([1.0, -2.0], dtype=torch.float64)
    plain, weighed = (
        FlowGRPO(solver, clip_range=0.1, kl_weight=0.0, time_weights=how)
        for how in ("even", "tempflow")
    )
    rows = plain.rows(made, adv, Draws(0, "rows", 0, made.key))
    losses = [each.loss(policy, rows, draws).per_row for each in (plain, weighed)]
    torch.testing.assert_close(losses[0], -rows.advantage, rtol=1e-3, atol=1e-3)
    t, dt = rows.t, rows.s - rows.t
    sigma = 0.7 * (t / (1 - torch.where(t == 1, rows.grid[1], t))).sqrt()
    torch.testing.assert_close(losses[1], 2.25 * sigma * (-dt).sqrt() * losses[0])


@pytest.mark.parametrize(
    "solver", [CPS(), SDEWindow(inside=CPS(), outside=Euler(), size=1)], ids=["cps", "window"]
)
def test_guard_refuses_a_density_that_is_no_gaussians(solver):
    with pytest.raises(
        ValueError, match=r"as that of cps, is not one; .* such as {name: flow_sde}"
    ):
        GRPOGuard(solver)
