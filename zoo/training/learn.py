"""Learning from rows: an epoch's updates, the same for any number of processes.

Every process knows every row's unit and weight, cuts the units alike, trains the rows it holds and
weighs them by the weight of the whole update, so that gradients averaged over processes are those
of one process with all rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.devices import send
from zoo.engine.base import Engine
from zoo.objective.base import Loss, Objective
from zoo.policy.base import Policy
from zoo.rollout import Rows, Weights, take
from zoo.run.console import NO_BAR, Bar
from zoo.seeds import Draws
from zoo.training.cut import Cut
from zoo.training.learning_rate import LearningRate
from zoo.training.lending import with_lent_weights
from zoo.training.micro_batches import (
    MicroBatch,
    balanced_batch_size,
    micro_batches,
    num_micro_batches,
)


@dataclass(frozen=True)
class Learner:
    """What trains a policy by an objective, and by how much an epoch.

    `micro_batch` is in images. `ema_cap` is the most that the moving average keeps of itself at an
    update; without it there is none.
    """

    engine: Engine
    policy: Policy
    objective: Objective[Any]
    num_updates: int
    micro_batch: int
    rate: LearningRate
    ema_cap: float | None = None


@dataclass(frozen=True)
class Learned:
    """What an epoch's updates did: the averages of its metrics, and counts over all processes.

    Dropped updates had a gradient that was not finite, empty ones no row of any weight.
    """

    step: int
    metrics: dict[str, float]
    num_evals: int
    num_dropped: int
    num_empty: int


def batch_size(learner: Learner, cut: Cut) -> int:
    """The rows of each micro-batch, the same for all updates and processes."""
    at_most = max(1, learner.micro_batch // learner.objective.images_per_row)
    return balanced_batch_size(max(cut.largest), at_most)


def num_batches(learner: Learner, cut: Cut) -> int:
    """The micro-batches of all updates that are not empty."""
    size = batch_size(learner, cut)
    sizes = zip(cut.largest, cut.weight, strict=True)
    return sum(num_micro_batches(largest, size) for largest, weight in sizes if weight)


def learn(
    learner: Learner, rows: Rows, cut: Cut, draws: Draws, step: int, bar: Bar = NO_BAR
) -> Learned:
    """Makes the updates of a cut of the rows; `step` counts those done before.

    `draws` are by row, and `bar` counts micro-batches. An update whose gradient is not finite
    changes nothing and is counted as dropped, and one whose rows all weigh 0 is passed over.
    """
    policy, size = learner.policy, batch_size(learner, cut)
    averages = _Averages(learner.engine)
    num_evals, num_dropped, num_empty, done, norms = 0, 0, 0, 0, []

    # What live says of rows that are trained on once it has moved, where their losses need it.
    if learner.objective.recalls:
        rows, num_evals = _recall(learner, rows, draws, cut)

    for mine, weight, largest in zip(cut.rows, cut.weight, cut.largest, strict=True):
        # No image of the update carries a signal: all processes see it by the weight and go on.
        if weight == 0:
            num_empty += 1
            continue

        # What the losses must know of each other's rows, where they must.
        micros = tuple(micro_batches(mine, size, num_micro_batches(largest, size)))
        if learner.objective.looks_ahead:
            rows, evals = _look_ahead(learner, rows, draws, micros)
            num_evals += evals

        # The gradient, a micro-batch at a time.
        batches = _batches(learner, micros, rows.weight.cpu(), draws)
        metrics, evals = _backward(learner, rows, batches, weight, done, bar)
        num_evals, done = num_evals + evals, done + len(micros)

        # The optimizer's step, which is taken where the gradient of all processes is finite.
        norm = learner.engine.update(learner.rate.at(step))
        if not norm < float("inf"):
            num_dropped += 1
            continue
        step += 1
        norms.append(norm)
        averages.merge(metrics, weight)

        # The other sets of weights follow: the objective's, and the moving average.
        learner.objective.after_update(policy.weights, step)
        if learner.ema_cap is not None:
            policy.weights.blend(Weights.EMA, min((1 + step) / (10 + step), learner.ema_cap))
    found = averages.averages()
    if norms:
        found["grad_norm"] = sum(norms) / len(norms)
        found["lr"] = learner.rate.at(step - 1)
    num_evals = int(learner.engine.gather(torch.tensor([num_evals])).sum())
    return Learned(step, found, num_evals, num_dropped, num_empty)


@dataclass(frozen=True)
class _Batch:
    """A micro-batch as it is run: the rows, how much each counts, and their random numbers."""

    number: int
    """In its update."""
    index: Int[Tensor, " batch"]
    weight: Float[Tensor, " batch"]
    """0 of fillers."""
    draws: Draws
    num_real: int

    def part_of(self, num_rows: int) -> int:
        """Of the rows that went through the network, those of no filler."""
        return num_rows * self.num_real // len(self.index)


def _batches(
    learner: Learner,
    micros: Iterable[MicroBatch],
    row_weight: Float[Tensor, " rows"],
    draws: Draws,
) -> Iterator[_Batch]:
    """The random numbers of each are drawn while the one before is run."""
    # Rows of weight 0 may hold anything, and a gradient of NaN times 0 is NaN: one that counts
    # is run in their place.
    stand_in = row_weight.argmax()
    micros = list(micros)
    weights = [row_weight[m.index] * (torch.arange(len(m.index)) < m.num_real) for m in micros]
    indices = [
        torch.where(weight > 0, micro.index, stand_in)
        for micro, weight in zip(micros, weights, strict=True)
    ]
    # Where sets are lent a micro-batch asks for its numbers before and after its turn.
    lent = learner.policy.weights.copies_on != "device"
    own = map(draws.take, indices) if lent else draws.in_turn(indices)
    every = zip(range(len(micros)), indices, weights, own, micros, strict=True)
    for number, index, weight, mine, micro in every:
        yield _Batch(number, index, weight, mine, micro.num_real)


def _recall(learner: Learner, rows: Rows, draws: Draws, cut: Cut) -> tuple[Rows, int]:
    """The rows with what live says of those of all updates but the first; and the forwards."""
    size, objective = batch_size(learner, cut), learner.objective
    parts = [
        micro_batches(mine, size, num_micro_batches(largest, size))
        for mine, weight, largest in zip(cut.rows, cut.weight, cut.largest, strict=True)
        if weight
    ]
    later = chain.from_iterable(parts[1:])
    recalled, num_evals = _ask(learner, objective.recall, rows, draws, later)
    return objective.remember(rows, recalled), num_evals


def _look_ahead(
    learner: Learner, rows: Rows, draws: Draws, micros: Iterable[MicroBatch]
) -> tuple[Rows, int]:
    """The rows with what an update's losses must know, and the forwards that it took."""
    objective = learner.objective
    with torch.no_grad():
        measured, num_evals = _ask(learner, objective.measure, rows, draws, micros)
    return objective.settle(rows, measured, learner.engine.gather), num_evals


def _ask(
    learner: Learner,
    question: Callable[[Policy, Rows, Draws], Tensor],
    rows: Rows,
    draws: Draws,
    micros: Iterable[MicroBatch],
) -> tuple[Float[Tensor, "rows ..."], int]:
    """Numbers of each row of some micro-batches that has a weight, NaN of others; the forwards."""

    def ask(policy: Policy, batch: _Batch) -> Tensor:
        return question(policy, take(rows, batch.index), batch.draws)

    weights = learner.policy.weights
    places, found, num_evals = [], [], 0
    batches = _batches(learner, micros, rows.weight.cpu(), draws)
    for policy, batch in with_lent_weights(learner.policy, ask, batches):
        before = weights.num_rows
        found.append(ask(policy, batch).detach())
        places.append(torch.where(batch.weight > 0, batch.index, -1))
        num_evals += batch.part_of(weights.num_rows - before)
    # All of them at once: to read any is to wait for all that was queued before.
    values = torch.cat(found).cpu() if found else torch.empty(0)
    exact = torch.float64 if values.ndim == 1 else torch.float32
    measured = torch.full((len(rows.weight), *values.shape[1:]), torch.nan, dtype=exact)
    if places:
        place = torch.cat(places)
        measured[place[place >= 0]] = values[place >= 0].to(exact)
    return measured, num_evals


def _backward(
    learner: Learner, rows: Rows, batches: Iterable[_Batch], weight: float, done: int, bar: Bar
) -> tuple["_Averages", int]:
    """Adds an update's gradients, `weight` being that of all processes' rows in it.

    So many micro-batches of the epoch were `done` before. Returns its metrics, not yet averaged,
    and the forwards of rows that are no fillers.
    """
    engine, weights = learner.engine, learner.policy.weights

    def loss_of(policy: Policy, batch: _Batch) -> Loss:
        chosen = replace(take(rows, batch.index), batch=done + batch.number)
        return learner.objective.loss(policy, chosen, batch.draws)

    metrics, num_evals = _Averages(engine), 0
    for policy, batch in bar.over(with_lent_weights(learner.policy, loss_of, batches)):
        before = weights.num_rows
        counts = send(batch.weight, engine.device)
        loss = loss_of(policy, batch)
        engine.backward((counts * loss.per_row).sum() * (engine.size / weight))
        num_evals += batch.part_of(weights.num_rows - before)
        metrics.add({"loss": loss.per_row.detach(), **loss.metrics}, counts)
    return metrics, num_evals


class _Averages:
    """Averages of metrics over all processes' rows, summed on the device without a wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sums: dict[str, Tensor] = {}
        self._weight = 0.0

    def add(
        self, metrics: Mapping[str, Float[Tensor, " rows"]], weight: Float[Tensor, " rows"]
    ) -> None:
        """This process's rows."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + (weight * value).double().sum()

    def merge(self, other: "_Averages", weight: float) -> None:
        """An update's sums, and the weight of all processes' rows in it."""
        for name, value in other._sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._weight += weight

    def averages(self) -> dict[str, float]:
        """Of what was merged; the same on every process."""
        if not self._sums:
            return {}
        local = torch.stack(list(self._sums.values()))[None]
        mean = self._engine.gather(local).sum(0) / self._weight
        return dict(zip(self._sums, mean.tolist(), strict=True))
