"""The cut into updates, and updates that are dropped."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from zoo.engine.base import AdamWOptions, Engine
from zoo.engine.plain import PlainEngine
from zoo.objective.base import Loss, Objective
from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.rollout import Rows, Weights
from zoo.seeds import Draws
from zoo.training.cut import cut, updates
from zoo.training.learn import Learned, Learner, learn
from zoo.training.learning_rate import LearningRate

NAN = float("nan")
GROUPS, IN_GROUP, PER_UNIT = 7, 5, 3
UNITS = GROUPS * IN_GROUP


class OneOfSeveral(Engine):
    """A process whose `gather` knows what the others hold."""

    def __init__(self, rank: int, holdings: list[list[Tensor]]) -> None:
        """`holdings` are, for each gather in turn, every process's tensor."""
        self.rank, self.size, self.device = rank, len(holdings[0]), torch.device("cpu")
        self.holdings = holdings

    def gather(self, local: Tensor) -> Tensor:
        for per_rank in self.holdings:
            mine = per_rank[self.rank]
            if mine.shape == local.shape and mine.dtype == local.dtype and torch.equal(mine, local):
                return torch.cat(per_rank)
        raise AssertionError(f"an unexpected gather of {local}")

    def backward(self, loss): ...
    def update(self, lr): ...
    def clip(self, max_grad_norm): ...
    def state(self): ...
    def load(self, state): ...


def weight_of(unit: Tensor) -> Tensor:
    """0, 1 or 2: some rows are dropped."""
    return (unit * 7 % 3).float()


def rows_of(units: list[int]) -> Rows:
    unit = torch.tensor(units, dtype=torch.long).repeat_interleave(PER_UNIT)
    key = unit * PER_UNIT + torch.arange(len(unit)) % PER_UNIT
    return Rows(key, unit, weight_of(unit))


def cuts(size: int, num_updates: int, epoch: int = 0):
    """Every process's rows and cut; group g lives on process g mod size, in reverse order."""
    held = [
        rows_of([unit for unit in range(UNITS) if unit // IN_GROUP % size == rank][::-1])
        for rank in range(size)
    ]
    holdings = [
        [rows.unit for rows in held],
        [rows.weight.double() for rows in held],
        [torch.full_like(rows.unit, rank) for rank, rows in enumerate(held)],
    ]
    made = [
        cut(
            OneOfSeveral(rank, holdings), held[rank], num_updates,
            num_groups=GROUPS, seed=5, epoch=epoch,
        )
        for rank in range(size)
    ]  # fmt: skip
    return held, made


def keys_by_update(size: int, num_updates: int, epoch: int = 0) -> list[list[int]]:
    held, made = cuts(size, num_updates, epoch)
    return [
        sorted(
            key
            for rows, one in zip(held, made, strict=True)
            for key in rows.key[one.rows[u]].tolist()
        )
        for u in range(num_updates)
    ]


@pytest.mark.parametrize("num_updates", [1, 2, 3, 5, 7, 35, 40])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_row_is_trained_in_one_update_with_all_of_its_unit(size, num_updates) -> None:
    by_update = keys_by_update(size, num_updates)
    assert sorted(key for keys in by_update for key in keys) == list(range(UNITS * PER_UNIT))
    for keys in by_update:
        units = {key // PER_UNIT for key in keys}
        assert len(keys) == PER_UNIT * len(units)
    sizes = [len(keys) // PER_UNIT for keys in by_update]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("num_updates", [1, 2, 5, 20])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_cut_is_the_same_for_any_number_of_processes(size, num_updates) -> None:
    assert keys_by_update(size, num_updates) == keys_by_update(1, num_updates)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_process_agrees_on_the_weight_and_the_largest_share(size) -> None:
    held, made = cuts(size, 4)
    for u in range(4):
        weights = [rows.weight[one.rows[u]].sum() for rows, one in zip(held, made, strict=True)]
        counts = [len(one.rows[u]) for one in made]
        assert {one.weight[u] for one in made} == {float(sum(weights))}
        assert {one.largest[u] for one in made} == {max(counts)}


def test_each_epoch_is_cut_anew() -> None:
    assert keys_by_update(1, 3, epoch=0) != keys_by_update(1, 3, epoch=1)


@pytest.mark.parametrize("num_updates", [2, 3, 4])
def test_each_group_is_spread_over_all_updates(num_updates) -> None:
    for keys in keys_by_update(2, num_updates):
        units = torch.tensor(sorted({key // PER_UNIT for key in keys}))
        in_update = torch.bincount(units // IN_GROUP, minlength=GROUPS)
        assert set(in_update.tolist()) <= {IN_GROUP // num_updates, -(-IN_GROUP // num_updates)}


@pytest.mark.parametrize("processes", [1, 8, 16, 48])
@pytest.mark.parametrize(
    ("groups", "in_group", "num_updates"),
    # The published runs' images, with as many updates as divide a group, and as do not; pairs.
    [(48, 24, 2), (48, 24, 4), (48, 24, 8), (96, 3, 2), (96, 1, 2), (192, 1, 4), (96, 10, 4)],
)
def test_every_process_has_as_much_to_do_in_every_update(
    groups, in_group, num_updates, processes
) -> None:
    unit = torch.arange(groups * in_group)
    update = updates(unit, num_updates, num_groups=groups, seed=0, epoch=3)
    rank = unit // in_group % processes
    held = torch.stack([torch.bincount(rank[update == u]) for u in range(num_updates)])
    assert torch.equal(held, torch.full_like(held, len(unit) // num_updates // processes))


def test_units_that_are_not_as_many_for_each_group_are_cut_all_the_same() -> None:
    update = updates(torch.tensor([4, 4, 9, 1, 5, 30]), 2, num_groups=2, seed=0, epoch=0)
    assert update[0] == update[1]
    assert sorted(torch.bincount(update[1:]).tolist()) == [2, 3]


@dataclass(frozen=True)
class Wanted(Rows):
    target: Tensor


class Linear(Policy):
    """As little of a policy as an objective needs."""

    latent_shape = (1,)

    def __init__(self) -> None:
        network = nn.Linear(1, 1, bias=False)
        nn.init.constant_(network.weight, 0.5)
        self.weights = WeightSets(network, None)
        self.weights.allocate([Weights.EMA], seed=0)

    def velocity(self, x, t, cond):
        return self.weights(x)

    encode = decode = latents = grid = None


Linear.__abstractmethods__ = frozenset()


class Regression(Objective[Wanted]):
    """(w - target)^2, and a record of what was called."""

    def __init__(self) -> None:
        self.updates: list[int] = []
        self.batches: list[int] = []

    def rows(self, rollout, advantage, draws): ...

    def loss(self, policy: Policy, rows: Wanted, draws: Draws) -> Loss:
        self.batches.append(len(rows.key))
        assert draws.keys.tolist() == rows.key.tolist()
        w = policy.velocity(torch.ones(len(rows.key), 1), None, None)[:, 0]
        return Loss((w - rows.target).square(), {"target": rows.target})

    def after_update(self, weights: WeightSets, step: int) -> None:
        self.updates.append(step)


def learned(
    target: list[float],
    weight: list[float] | None = None,
    change: Callable[[Wanted], Wanted] = lambda rows: rows,
    **options,
) -> tuple[Linear, Regression, Learned]:
    policy, objective = Linear(), Regression()
    key = torch.arange(len(target))
    ones = [1.0] * len(target)
    rows = change(Wanted(key, key, torch.tensor(weight or ones), torch.tensor(target)))
    engine = PlainEngine(policy.weights, AdamWOptions(weight_decay=0.0), device=torch.device("cpu"))
    given = {"num_updates": 1, "micro_batch": 2, "ema_cap": None} | options
    step = given.pop("step", 3)
    learner = Learner(engine, policy, objective, rate=LearningRate(0.1), **given)
    parts = cut(engine, rows, learner.num_updates, num_groups=1, seed=0, epoch=0)
    done = learn(learner, rows, parts, Draws(0, "loss", 0, key), step)
    return policy, objective, done


def value(policy: Linear, which: Weights = Weights.LIVE) -> float:
    return float(policy.weights.parameters(which)["weight"].detach())


def test_an_update_moves_the_weights_and_is_counted() -> None:
    policy, objective, done = learned([1.0, 2.0, 3.0])
    assert value(policy) == pytest.approx(0.6, abs=1e-5)
    assert (done.step, done.num_dropped, objective.updates) == (4, 0, [4])
    assert done.metrics["loss"] == pytest.approx((0.5**2 + 1.5**2 + 2.5**2) / 3)
    assert done.metrics["target"] == pytest.approx(2.0)
    assert done.metrics["grad_norm"] == pytest.approx(3.0, rel=1e-5)
    assert done.num_evals == 3
    assert objective.batches == [2, 2]


def test_means_and_gradients_are_weighted() -> None:
    _, _, done = learned([1.0, 2.0, 3.0], [1.0, 0.0, 3.0])
    assert done.metrics["target"] == pytest.approx((1 + 9) / 4)
    assert done.metrics["grad_norm"] == pytest.approx(2 * (0.5 + 3 * 2.5) / 4, rel=1e-5)


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 100])
def test_the_micro_batch_does_not_matter(micro_batch) -> None:
    _, _, done = learned([1.0, 2.0, 3.0, 7.0, 5.0], micro_batch=micro_batch)
    assert done.metrics["grad_norm"] == pytest.approx(2 * (3.6 - 0.5), rel=1e-5)
    assert done.num_evals == 5


@pytest.mark.parametrize("bad", [NAN, float("inf")])
def test_an_update_that_is_not_finite_changes_nothing_and_is_counted(bad) -> None:
    policy, objective, done = learned([1.0, bad, 3.0], ema_cap=0.9)
    assert value(policy) == value(policy, Weights.EMA) == 0.5
    assert (done.step, done.num_dropped, objective.updates) == (3, 1, [])
    assert "grad_norm" not in done.metrics


def test_a_dropped_update_leaves_the_next_one_clean() -> None:
    policy, objective, done = learned([1.0, NAN, 1.0, 1.0], num_updates=4, micro_batch=1)
    assert (done.step, done.num_dropped, objective.updates) == (6, 1, [4, 5, 6])
    same, _, _ = learned([1.0, 1.0, 1.0], num_updates=3, micro_batch=1)
    assert value(policy) == pytest.approx(value(same), abs=1e-7)


def test_rows_of_weight_zero_do_not_count_even_if_their_loss_is_not_finite() -> None:
    policy, _, done = learned([1.0, NAN, 3.0, 1e30], [1.0, 0.0, 1.0, 0.0])
    assert done.num_dropped == 0
    assert value(policy) == pytest.approx(0.6, abs=1e-5)
    assert done.metrics["loss"] == pytest.approx((0.5**2 + 2.5**2) / 2)


def test_an_update_whose_rows_all_weigh_zero_is_passed_over() -> None:
    policy, objective, done = learned([1.0, 2.0], [0.0, 0.0])
    assert (done.step, done.num_dropped, done.metrics) == (3, 0, {})
    assert value(policy) == 0.5
    assert objective.batches == []


def test_the_ema_follows_with_the_published_decay() -> None:
    policy, _, _ = learned([1.0], ema_cap=0.9, step=0)
    decay = 2 / 11
    assert value(policy, Weights.EMA) == pytest.approx(decay * 0.5 + (1 - decay) * value(policy))
    policy, _, _ = learned([1.0], ema_cap=0.1, step=500)
    assert value(policy, Weights.EMA) == pytest.approx(0.1 * 0.5 + 0.9 * value(policy))


class Ahead(Regression):
    """Whose target is the mean of the update's own: each is to be measured once an update."""

    looks_ahead = True

    def __init__(self) -> None:
        super().__init__()
        self.measured: list[list[int]] = []
        self.settled: list[list[float]] = []

    def measure(self, policy, rows, draws):
        assert not torch.is_grad_enabled()
        assert draws.keys.tolist() == rows.key.tolist()
        self.measured.append(rows.key.tolist())
        return rows.target

    def settle(self, rows, measured, gather):
        self.settled.append(measured.tolist())
        mean = torch.full_like(rows.target, float(gather(measured).nanmean()))
        return replace(rows, target=torch.where(measured.isnan(), rows.target, mean.float()))


def test_what_an_update_must_know_is_measured_once_of_each_of_its_rows(monkeypatch) -> None:
    """Of those that weigh anything: nothing is known of a row of another update."""
    made = []
    monkeypatch.setitem(globals(), "Regression", lambda: made.append(Ahead()) or made[-1])
    target, weight = [1.0, 2.0, 3.0, 4.0, NAN], [1.0, 1.0, 1.0, 1.0, 0.0]
    _, _, done = learned(target, weight, num_updates=2)
    (objective,) = made
    assert done.step == 3 + 2
    known = [{i for i, x in enumerate(each) if x == x} for each in objective.settled]
    assert known[0] | known[1] == {0, 1, 2, 3}
    assert not known[0] & known[1]
    for each, measured in zip(known, objective.settled, strict=True):
        assert all(measured[i] == target[i] for i in each)


def test_each_micro_batch_of_an_epoch_has_its_number(monkeypatch) -> None:
    numbers = []
    loss = Regression.loss

    def watch(self, policy, rows, draws):
        numbers.append(rows.batch)
        return loss(self, policy, rows, draws)

    monkeypatch.setattr(Regression, "loss", watch)
    learned([1.0] * 8, num_updates=2)
    assert numbers == [0, 1, 2, 3]
