"""Weights in the host's memory: the same updates, each set moved once for many micro-batches."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from zoo.engine.base import AdamWOptions
from zoo.engine.plain import PlainEngine
from zoo.errors import UserError
from zoo.objective.base import Loss, Objective
from zoo.policy.base import Policy
from zoo.policy.weight_copies import Networks
from zoo.policy.weights import WeightSets
from zoo.rollout import Cond, Rows, Weights
from zoo.seeds import Draws
from zoo.training import lending
from zoo.training.cut import cut
from zoo.training.learn import Learned, Learner, learn
from zoo.training.learning_rate import LearningRate

NUM = 11
NO_COND = Cond({})


@dataclass(frozen=True)
class Wanted(Rows):
    target: Tensor


class Small(Policy):
    """Full fine-tuning with three other sets, each of values of its own."""

    latent_shape = (3,)

    def __init__(self, copies_on) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
        self.weights = WeightSets(network, None, copies_on=copies_on)
        self.weights.allocate([Weights.OLD, Weights.REFERENCE, Weights.EMA], seed=0)
        for i, which in enumerate((Weights.OLD, Weights.REFERENCE)):
            for p in self.weights.parameters(which).values():
                p.data.mul_(1.5 + i)

    def velocity(self, x, t, cond):
        return self.weights(x)

    encode = decode = latents = grid = None


Small.__abstractmethods__ = frozenset()


class Contrast(Objective[Wanted]):
    """Asks old twice, and the reference of every other micro-batch, and measures by old before."""

    looks_ahead = True

    def rows(self, rollout, advantage, draws): ...

    def others(self, policy: Policy, which: Weights, x: Tensor) -> Tensor:
        with torch.no_grad(), policy.weights.using(which):
            return policy.velocity(x, torch.zeros(len(x)), NO_COND)

    def measure(self, policy, rows, draws):
        return self.others(policy, Weights.OLD, draws.normal((3,))).mean(1)

    def settle(self, rows, measured, gather):
        return rows

    def loss(self, policy: Policy, rows: Wanted, draws: Draws) -> Loss:
        x = draws.normal((3,))
        off = policy.velocity(x, torch.zeros(len(x)), NO_COND) - self.others(policy, Weights.OLD, x)
        off = off + self.others(policy, Weights.OLD, -x) * rows.target[:, None]
        if rows.batch % 2:
            off = off - self.others(policy, Weights.REFERENCE, x)
        return Loss(off.square().sum(1), {"off": off.detach().mean(1)})

    def after_update(self, weights: WeightSets, step: int) -> None:
        weights.blend(Weights.OLD, decay=0.5)


class Chained(Contrast):
    """Asks the reference for a place that depends on what old says."""

    looks_ahead = False

    def loss(self, policy: Policy, rows: Wanted, draws: Draws) -> Loss:
        old = self.others(policy, Weights.OLD, draws.normal((3,)))
        x = self.others(policy, Weights.REFERENCE, old)
        off = policy.velocity(x, torch.zeros(len(x)), NO_COND)
        return Loss(off.square().sum(1), {})


def learned(copies_on, objective=None, **options) -> tuple[Small, Learned]:
    policy, key = Small(copies_on), torch.arange(NUM)
    rows = Wanted(key, key, torch.ones(NUM), torch.linspace(-1, 1, NUM))
    engine = PlainEngine(policy.weights, AdamWOptions(), device=torch.device("cpu"))
    given = {"num_updates": 2, "micro_batch": 2, "ema_cap": 0.5} | options
    learner = Learner(engine, policy, objective or Contrast(), rate=LearningRate(0.1), **given)
    parts = cut(engine, rows, learner.num_updates, num_groups=1, seed=0, epoch=0)
    return policy, learn(learner, rows, parts, Draws(0, "loss", 0, key), 0)


@pytest.fixture
def moves(monkeypatch) -> list[Weights]:
    """The sets that were moved to the device, in order."""
    seen, move = [], Networks._copy_to_device
    monkeypatch.setattr(
        Networks, "_copy_to_device", lambda self, which: seen.append(which) or move(self, which)
    )
    return seen


@pytest.mark.parametrize("together", [1, 2, 32])
def test_updates_are_those_of_copies_on_the_device(together, monkeypatch) -> None:
    monkeypatch.setattr(lending, "TOGETHER", together)
    (one, expected), (other, found) = learned("device"), learned("cpu")
    assert found == expected
    assert found.num_evals == NUM + NUM + 2 * NUM + 5  # of measuring, live, old, and the reference
    for which in (Weights.LIVE, Weights.OLD, Weights.REFERENCE, Weights.EMA):
        for a, b in zip(
            one.weights.parameters(which).values(),
            other.weights.parameters(which).values(),
            strict=True,
        ):
            assert torch.equal(a, b)


def test_a_set_moves_once_for_many_micro_batches(moves, monkeypatch) -> None:
    learned("cpu", num_updates=1)
    measuring, training = [Weights.OLD], [Weights.OLD, Weights.REFERENCE]
    assert moves == measuring + training
    moves.clear()
    monkeypatch.setattr(lending, "TOGETHER", 4)  # of six
    learned("cpu", num_updates=1)
    assert moves == 2 * measuring + 2 * training


def test_where_sets_say_much_they_move_for_fewer_micro_batches(moves, monkeypatch) -> None:
    """Of two rows of three numbers; old is asked twice when it is trained, the reference once."""
    monkeypatch.setattr(lending, "KEPT", 2 * 24 + 1)
    learned("cpu", num_updates=1)
    assert moves == 2 * [Weights.OLD] + 3 * [Weights.OLD, Weights.REFERENCE]


def test_no_set_is_left_on_the_device() -> None:
    policy, _ = learned("cpu")
    assert not policy.weights.module._lent


@pytest.mark.parametrize(("objective", "copies_on"), [(Contrast, "cpu"), (Chained, "device")])
def test_what_can_be_asked_is_not_refused(objective, copies_on) -> None:
    assert not refused(objective(), copies_on)


def test_a_loss_that_asks_one_set_for_what_another_says_is_refused() -> None:
    assert refused(Chained(), "cpu").endswith("write policy.copies_on: device")


def refused(objective: Contrast, copies_on) -> str:
    """What is said of it at a run's first step."""
    policy, key = Small(copies_on), torch.arange(2)
    draws = Draws(0, "loss", 0, key)

    def ask(policy: Policy, number: int) -> Loss:
        rows = Wanted(key, key, torch.ones(2), torch.ones(2), batch=number)
        return objective.loss(policy, rows, draws)

    try:
        for asked, number in lending.with_lent_weights(policy, ask, [0, 1], checked=True):
            ask(asked, number)
    except UserError as error:
        return str(error)
    return ""
