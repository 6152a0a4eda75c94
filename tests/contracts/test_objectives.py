"""What every registered objective promises, on the digits model."""

import json
from dataclasses import replace

import pytest
import torch

from tests.contracts.components import CPU, STOCHASTIC, build, each, some_prompts
from zoo.policy.digits import Digits
from zoo.rollout import Rollout, Weights, take
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.seeds import Draws

EACH = each("objectives")
GROUPS, GROUP_SIZE = 3, 4
NUM = GROUPS * GROUP_SIZE
ADVANTAGE = torch.linspace(-1.5, 1.5, NUM, dtype=torch.float64)[
    torch.tensor([5, 0, 11, 3, 8, 2, 9, 1, 10, 4, 7, 6])
]


@pytest.fixture
def at(entry, tmp_path):
    return Setting(build(entry, tmp_path))


class Setting:
    """A fresh policy and a rollout that it collected as the objective wants it."""

    def __init__(self, objective):
        self.objective = objective
        self.policy = Digits(CPU)
        self.policy.weights.allocate(objective.moves, seed=0)
        solver = STOCHASTIC if objective.needs_path else Euler()
        sampler = FlowSampler(solver=solver, steps=4)
        group = torch.arange(GROUPS).repeat_interleave(GROUP_SIZE)
        # As on a second process: keys and groups do not start at 0.
        key, group = torch.arange(NUM) + 100 * GROUP_SIZE, group + 100
        cond = take(self.policy.encode(some_prompts(GROUPS)), group - 100)
        prompts = [some_prompts(GROUPS)[g - 100] for g in group.tolist()]
        draws = Draws(0, "collect", 0, key)
        with torch.no_grad(), self.policy.weights.using(objective.acts_with):
            path = sampler.sample(self.policy, prompts, cond, draws, keep_path=objective.needs_path)
        self.rollout = Rollout(key, group, path, cond, sampler.grid(self.policy))

    def rows(self, advantage=ADVANTAGE, seed=0):
        draws = Draws(seed, "rows", 0, self.rollout.key)
        return self.objective.rows(self.rollout, advantage, draws)

    def loss(self, rows):
        return self.objective.loss(self.policy, rows, Draws(0, "loss", 0, rows.key))


@EACH
def test_acts_with_live_or_a_set_that_exists(at):
    assert at.objective.acts_with in {Weights.LIVE, Weights.REFERENCE, *at.objective.moves}
    assert Weights.LIVE not in at.objective.moves
    assert at.objective.images_per_row >= 1


@EACH
def test_the_number_of_rows_depends_on_shapes_alone(at):
    count = len(at.rows().key)
    assert count > 0
    some_nan = ADVANTAGE.clone()
    some_nan[[0, 5, 6]] = torch.nan
    none = torch.full_like(ADVANTAGE, torch.nan)
    for advantage in (-ADVANTAGE, torch.zeros_like(ADVANTAGE), some_nan, none):
        rows = at.rows(advantage)
        assert len(rows.key) == len(rows.unit) == len(rows.weight) == count
        assert bool(rows.weight.isfinite().all())
        assert bool((rows.weight >= 0).all())


@EACH
def test_keys_are_unique_and_named_over_all_processes(at):
    rows = at.rows()
    assert len(torch.unique(rows.key)) == len(rows.key)
    here = at.rollout
    at.rollout = replace(here, key=here.key + NUM, group=here.group + GROUPS)
    more = at.rows()
    assert not set(more.key.tolist()) & set(rows.key.tolist())
    assert not set(more.unit.tolist()) & set(rows.unit.tolist())
    counts = torch.unique(rows.unit, return_counts=True)[1]
    assert bool((counts == counts[0]).all())


@EACH
def test_rows_do_not_depend_on_which_groups_are_on_the_same_process(at):
    whole = at.rows()
    first = torch.arange(GROUP_SIZE, 2 * GROUP_SIZE)
    at.rollout = take(at.rollout, first)
    alone = at.rows(ADVANTAGE[first])
    place = {key: i for i, key in enumerate(whole.key.tolist())}
    index = torch.tensor([place[key] for key in alone.key.tolist()])
    assert torch.equal(whole.unit[index], alone.unit)
    torch.testing.assert_close(whole.weight[index], alone.weight)
    with torch.no_grad():
        torch.testing.assert_close(
            at.loss(take(whole, index)).per_row, at.loss(alone).per_row, rtol=1e-4, atol=1e-5
        )


@EACH
def test_rows_of_invalid_images_weigh_nothing(at):
    none = torch.full_like(ADVANTAGE, torch.nan)
    assert not bool(at.rows(none).weight.any())
    one_group = ADVANTAGE.clone()
    one_group[GROUP_SIZE : 2 * GROUP_SIZE] = torch.nan
    rows, same = at.rows(one_group), at.rows()
    dropped = (rows.weight == 0) & (same.weight > 0)
    assert int(dropped.sum()) == len(rows.key) // GROUPS
    assert bool((rows.weight > 0).any())


@EACH
def test_the_loss_is_finite_by_row_and_differentiable(at):
    rows = at.rows()
    loss = at.loss(rows)
    assert loss.per_row.shape == rows.key.shape
    assert bool(loss.per_row.isfinite().all())
    for value in loss.metrics.values():
        assert value.shape == rows.key.shape
        assert bool(value.isfinite().all())
        assert not value.requires_grad
    live = list(at.policy.weights.parameters().values())
    grads = torch.autograd.grad(
        (rows.weight * loss.per_row).sum() / rows.weight.sum(), live, allow_unused=True
    )
    found = torch.cat([g.flatten() for g in grads if g is not None])
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) > 0


@EACH
def test_a_rows_loss_does_not_depend_on_its_batch(at):
    rows = at.rows()
    index = torch.tensor([len(rows.key) - 1, 0, 2, 2])
    with torch.no_grad():
        whole, part = at.loss(rows).per_row, at.loss(take(rows, index)).per_row
    torch.testing.assert_close(part, whole[index], rtol=1e-4, atol=1e-5)


@EACH
def test_one_row_with_gradients_puts_as_many_images_through_the_network_as_promised(at):
    rows = at.rows()
    forward, seen = at.policy.weights.network.forward, []

    def watched(*args, **kwargs):
        if torch.is_grad_enabled():
            seen.append(len(kwargs["hidden_states"]))
        return forward(*args, **kwargs)

    at.policy.weights.attach(watched)
    at.loss(rows)
    assert sum(seen) == len(rows.key) * at.objective.images_per_row


@EACH
def test_the_state_goes_through_json_and_back(at, entry, tmp_path):
    at.objective.after_update(at.policy.weights, 1)
    at.objective.after_epoch(at.policy.weights, 1)
    state = json.loads(json.dumps(at.objective.state()))
    other = build(entry, tmp_path)
    other.load(state)
    assert other.state() == at.objective.state()


@EACH
def test_the_probes_hold_on_a_fresh_policy(at):
    rows = at.rows()
    probes = at.objective.probes(at.policy, rows, Draws(0, "loss", 0, rows.key))
    assert all(probe.holds for probe in probes), probes


@EACH
def test_making_rows_and_losses_changes_no_weights(at):
    before = [p.clone() for p in at.policy.weights.network.parameters()]
    rows = at.rows()
    at.loss(rows)
    at.objective.probes(at.policy, rows, Draws(0, "loss", 0, rows.key))
    after = at.policy.weights.network.parameters()
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
