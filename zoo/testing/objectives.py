"""What every objective promises, on the digits model."""

import json
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.objective.base import Loss, Objective
from zoo.policy.base import Policy
from zoo.policy.digits import Digits
from zoo.rollout import Rollout, Rows, Weights, take
from zoo.sampler.base import StochasticSolver
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.sampler.sde import FlowSDE
from zoo.seeds import Draws
from zoo.testing.inputs import some_prompts
from zoo.training.generate import conditions

_GROUPS, _GROUP_SIZE = 3, 4
_NUM = _GROUPS * _GROUP_SIZE
_FIRST_KEY, _FIRST_GROUP = 400, 100
_ADVANTAGE = torch.linspace(-1.5, 1.5, _NUM, dtype=torch.float64)[
    torch.tensor([5, 0, 11, 3, 8, 2, 9, 1, 10, 4, 7, 6])
]


class ObjectiveTests(ABC):
    """The checks of an objective: inherit them in a class named Test..., write `make`.

    They train on images that the digits model made with the weights that the objective asks for,
    with `solver` if it needs a path.
    """

    @abstractmethod
    def make(self) -> Objective[Any]:
        """A new instance; one that is given a solver gets `self.solver()`."""

    def solver(self) -> StochasticSolver:
        """What images are collected with where the objective needs a path."""
        return FlowSDE()

    def test_it_acts_with_live_or_a_set_that_exists(self) -> None:
        """Sets of weights that nothing moves are not allocated."""
        objective = self.make()
        assert objective.acts_with in {Weights.LIVE, *objective.uses, *objective.moves}
        # A run keeps the moving average where its recipe says so.
        assert objective.uses <= {Weights.REFERENCE, Weights.EMA, *objective.moves}
        assert Weights.LIVE not in objective.moves
        assert objective.images_per_row >= 1

    def test_the_number_of_rows_depends_on_shapes_alone(self) -> None:
        """Processes must make the same forwards, whatever their images are worth."""
        at = Setting(self)
        count = len(at.rows().key)
        assert count > 0
        some_nan = _ADVANTAGE.clone()
        some_nan[[0, 5, 6]] = torch.nan
        none = torch.full_like(_ADVANTAGE, torch.nan)
        for advantage in (-_ADVANTAGE, torch.zeros_like(_ADVANTAGE), some_nan, none):
            rows = at.rows(advantage)
            assert len(rows.key) == len(rows.unit) == len(rows.weight) == count
            assert bool(rows.weight.isfinite().all())
            assert bool((rows.weight >= 0).all())

    def test_keys_are_unique_and_named_over_all_processes(self) -> None:
        """A row's key seeds its noise; a unit's rows are trained in one update."""
        at = Setting(self)
        rows = at.rows()
        assert len(torch.unique(rows.key)) == len(rows.key)
        here = at.rollout
        at.rollout = replace(here, key=here.key + _NUM, group=here.group + _GROUPS)
        more = at.rows()
        assert not set(more.key.tolist()) & set(rows.key.tolist())
        assert not set(more.unit.tolist()) & set(rows.unit.tolist())
        counts = torch.unique(rows.unit, return_counts=True)[1]
        assert bool((counts == counts[0]).all())

    def test_rows_do_not_depend_on_which_groups_are_on_the_same_process(self) -> None:
        """A run is the same on any number of processes."""
        at = Setting(self)
        whole = at.rows()
        first = torch.arange(_GROUP_SIZE, 2 * _GROUP_SIZE)
        at.rollout = take(at.rollout, first)
        alone = at.rows(_ADVANTAGE[first])
        place = {key: i for i, key in enumerate(whole.key.tolist())}
        index = torch.tensor([place[key] for key in alone.key.tolist()])
        assert torch.equal(whole.unit[index], alone.unit)
        torch.testing.assert_close(whole.weight[index], alone.weight)
        with torch.no_grad():
            torch.testing.assert_close(
                at.loss(take(whole, index)).per_row, at.loss(alone).per_row, rtol=1e-4, atol=1e-5
            )

    def test_rows_of_invalid_images_weigh_nothing(self) -> None:
        """A reward that failed teaches nothing; the other groups train on."""
        at = Setting(self)
        none = torch.full_like(_ADVANTAGE, torch.nan)
        assert not bool(at.rows(none).weight.any())
        one_group = _ADVANTAGE.clone()
        one_group[_GROUP_SIZE : 2 * _GROUP_SIZE] = torch.nan
        rows, same = at.rows(one_group), at.rows()
        dropped = (rows.weight == 0) & (same.weight > 0)
        assert int(dropped.sum()) == len(rows.key) // _GROUPS
        assert bool((rows.weight > 0).any())

    def test_the_loss_is_finite_by_row_and_differentiable(self) -> None:
        """The loop weighs and averages the rows itself; metrics are by row too."""
        at = Setting(self)
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
        gradient = torch.cat([g.flatten() for g in grads if g is not None])
        assert bool(gradient.isfinite().all())
        assert float(gradient.abs().max()) > 0

    def test_a_rows_loss_does_not_depend_on_its_batch(self) -> None:
        """Micro-batches are of any size."""
        at = Setting(self)
        rows = at.rows()
        index = torch.tensor([len(rows.key) - 1, 0, 2, 2])
        with torch.no_grad():
            whole, part = at.loss(rows).per_row, at.loss(take(rows, index)).per_row
        torch.testing.assert_close(part, whole[index], rtol=1e-4, atol=1e-5)

    def test_what_is_measured_ahead_does_not_depend_on_the_batch(self) -> None:
        """Where an update's losses must know of each other's rows."""
        at = Setting(self)
        if not at.objective.looks_ahead:
            return
        rows = at.rows()
        whole, parts = at.ahead(rows, len(rows.key)), at.ahead(rows, 5)
        assert torch.equal(whole.key, rows.key)
        with torch.no_grad():
            losses = [at.loss(each).per_row for each in (whole, parts)]
        assert bool(losses[0].isfinite().all())
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)

    def test_a_row_puts_as_many_images_through_the_network_with_gradients_as_promised(
        self,
    ) -> None:
        """Memory and forwards are planned by `images_per_row`."""
        at = Setting(self)
        rows = at.rows()
        forward, seen = at.policy.weights.network.forward, []

        def watch(*args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled():
                seen.append(len(next(part for part in (*args, *kwargs.values()))))
            return forward(*args, **kwargs)

        at.policy.weights.attach(watch)
        at.loss(rows)
        assert sum(seen) == len(rows.key) * at.objective.images_per_row

    def test_the_state_goes_through_json_and_back(self) -> None:
        """A checkpoint keeps it so."""
        at = Setting(self)
        at.objective.after_update(at.policy.weights, 1)
        at.objective.after_epoch(at.policy.weights, 1)
        state = json.loads(json.dumps(at.objective.state()))
        other = self.make()
        other.load(state)
        assert other.state() == at.objective.state()

    def test_the_probes_hold_on_a_fresh_policy(self) -> None:
        """A run measures them before its first update."""
        at = Setting(self)
        rows = at.rows()
        probes = at.objective.probes(at.policy, rows, Draws(0, "loss", 0, rows.key))
        assert all(probe.holds for probe in probes), probes

    def test_making_rows_and_losses_changes_no_weights(self) -> None:
        """The optimizer moves live, `after_update` and `after_epoch` the rest."""
        at = Setting(self)
        before = [p.clone() for p in at.policy.weights.network.parameters()]
        rows = at.rows()
        at.loss(rows)
        at.objective.probes(at.policy, rows, Draws(0, "loss", 0, rows.key))
        after = at.policy.weights.network.parameters()
        assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


class Setting:
    """A fresh policy and a rollout that it collected as the objective wants it."""

    def __init__(self, tests: ObjectiveTests) -> None:
        """Collects 3 groups of 4 images."""
        self.objective = tests.make()
        self.policy: Policy = Digits(torch.device("cpu"))
        self.policy.weights.allocate(
            self.objective.moves | (self.objective.uses & {Weights.EMA}),
            seed=0,
            reference=Weights.REFERENCE in self.objective.uses,
        )
        needs_path = self.objective.needs_path
        sampler = FlowSampler(solver=tests.solver() if needs_path else Euler(), steps=4)
        row = torch.arange(_GROUPS).repeat_interleave(_GROUP_SIZE)
        # As on a second process: keys and groups do not start at 0.
        key, group = torch.arange(_NUM) + _FIRST_KEY, row + _FIRST_GROUP
        encoded = conditions(self.policy, sampler, some_prompts(_GROUPS), self.objective.guidance)
        cond = take(encoded, row)
        prompts = [some_prompts(_GROUPS)[i] for i in row.tolist()]
        draws = Draws(0, "collect", 0, key)
        with torch.no_grad(), self.policy.weights.using(self.objective.acts_with):
            path = sampler.sample(self.policy, prompts, cond, draws, keep_path=needs_path)
        # Stored images have no times.
        grid = sampler.grid(self.policy) if self.objective.needs_grid else None
        path = path if self.objective.needs_means else replace(path, mean=None)
        self.rollout = Rollout(key, group, path, cond, grid)

    def rows(self, advantage: Float[Tensor, " rows"] = _ADVANTAGE) -> Rows:
        """What the objective trains on of the rollout."""
        judged = replace(self.rollout, reward=advantage)
        rows: Rows = self.objective.rows(judged, advantage, Draws(0, "rows", 0, judged.key))
        return rows

    def ahead(self, rows: Rows, batch: int) -> Rows:
        """The rows with what an update must know of all, measured so many at a time."""
        draws = Draws(0, "loss", 0, rows.key)
        with torch.no_grad():
            parts = [
                self.objective.measure(self.policy, take(rows, index), draws.take(index))
                for start in range(0, len(rows.key), batch)
                for index in [torch.arange(start, min(start + batch, len(rows.key)))]
            ]
        settled: Rows = self.objective.settle(rows, torch.cat(parts).double(), lambda own: own)
        return settled

    def loss(self, rows: Rows) -> Loss:
        """The objective's loss of some rows."""
        return self.objective.loss(self.policy, rows, Draws(0, "loss", 0, rows.key))
