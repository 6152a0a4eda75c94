"""Learning from rows: a seeded cut of the epoch's units into updates, the same for any number of processes.

Every process knows every row's unit and weight, shuffles the units alike, trains the rows it holds and weighs them by the
weight of the whole update, so that gradients averaged over processes are those of one process with all rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo import seeds
from zoo.dealing import micro_batches, num_micro_batches
from zoo.engine.base import Engine
from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.rollout import Rows, Weights, take
from zoo.seeds import Draws

R = TypeVar("R", bound=Rows)


@dataclass(frozen=True)
class LearningRate:
    """A learning rate by update: `warmup` updates from 0 up to `peak`, then constant or down to 0 at `total`."""

    peak: float
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    total: int = 1

    def at(self, step: int) -> float:
        """The rate of update `step`, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        factor = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + cos(pi * done)) / 2}[self.schedule]
        return self.peak * factor


@dataclass(frozen=True)
class Cut:
    """How the rows of all processes fall into updates, as every process computes it alike."""

    rows: tuple[Int[Tensor, " rows"], ...]
    """By update, the indices of this process's own rows."""

    weight: tuple[float, ...]
    """By update, the weight of all processes' rows."""

    largest: tuple[int, ...]
    """By update, the rows of the process that holds most."""


@dataclass(frozen=True)
class Learned:
    """What an epoch's updates did: the averages of its metrics, and counts over all processes."""

    step: int
    metrics: dict[str, float]
    num_evals: int
    num_dropped: int


def cut(engine: Engine, rows: Rows, num_updates: int, *, seed: int, epoch: int) -> Cut:
    """Shuffles the units of all processes by seed and cuts them into `num_updates` nearly equal parts."""
    unit = engine.gather(rows.unit)
    weight = engine.gather(rows.weight.double())
    rank = engine.gather(torch.full_like(rows.unit, engine.rank).cpu())
    every = unit.unique()
    position = torch.empty(len(every), dtype=torch.long)
    position[seeds.order(len(every), seed=seed, purpose="updates", epoch=epoch)] = torch.arange(len(every))
    # As torch.tensor_split cuts: the first parts get one more.
    sizes = torch.tensor([len(part) for part in torch.arange(len(every)).tensor_split(num_updates)])
    update = torch.bucketize(position, sizes.cumsum(0), right=True)
    at = update[torch.searchsorted(every, unit)]
    local = update[torch.searchsorted(every, rows.unit.cpu())]
    return Cut(
        rows=tuple((local == u).nonzero()[:, 0] for u in range(num_updates)),
        weight=tuple(float(weight[at == u].sum()) for u in range(num_updates)),
        largest=tuple(
            int(torch.bincount(rank[at == u], minlength=engine.size).max()) for u in range(num_updates)
        ),
    )


def learn(
    engine: Engine,
    policy: Policy,
    objective: Objective[R],
    rows: R,
    *,
    draws: Draws,
    num_updates: int,
    micro_batch: int,
    rate: LearningRate,
    step: int,
    ema_cap: float | None,
) -> Learned:
    """`num_updates` updates on all rows; `draws` are by row, `micro_batch` in images, `step` those done before.

    An update whose gradient is not finite changes nothing and is counted as dropped, and one whose rows all weigh
    0 is passed over.
    """
    plan = cut(engine, rows, num_updates, seed=draws.seed, epoch=draws.epoch)
    batch = max(1, micro_batch // objective.images_per_row)
    totals: dict[str, Tensor] = {}
    num_evals, num_dropped, norms, total_weight = 0, 0, [], 0.0
    for mine, weight, largest in zip(plan.rows, plan.weight, plan.largest, strict=True):
        if weight == 0:
            continue
        fitting = min(batch, largest)
        for micro in micro_batches(mine, fitting, num_micro_batches(largest, fitting)):
            before = policy.weights.num_rows
            part = take(rows, micro.index)
            kept = part.weight.to(engine.device, copy=True)
            kept[micro.num_real :] = 0
            loss = objective.loss(policy, part, draws.take(micro.index))
            # where, not a product: 0 * NaN is NaN.
            weighted = torch.where(kept > 0, kept * loss.per_row, 0.0).sum()
            engine.backward(weighted * (engine.size / weight))
            num_evals += (policy.weights.num_rows - before) * micro.num_real // fitting
            for name, value in {"loss": loss.per_row.detach(), **loss.metrics}.items():
                entry = torch.where(kept > 0, kept * value, 0.0).double().sum()
                totals[name] = totals[name] + entry if name in totals else entry
        norm = engine.update(rate.at(step))
        if norm < float("inf"):
            step += 1
            norms.append(norm)
            objective.after_update(policy.weights, step)
            if ema_cap is not None:
                policy.weights.blend(Weights.EMA, min((1 + step) / (10 + step), ema_cap))
        else:
            num_dropped += 1
        total_weight += weight
    metrics = _averaged(engine, totals, total_weight)
    if norms:
        metrics["grad_norm"] = sum(norms) / len(norms)
    return Learned(step, metrics, int(engine.gather(torch.tensor([num_evals])).sum()), num_dropped)


def _averaged(engine: Engine, totals: dict[str, Tensor], weight: float) -> dict[str, float]:
    """The sums of all processes, by their weight; a process without rows has the same names."""
    if not totals:
        return {}
    local = torch.stack(list(totals.values()))[None]
    return dict(zip(totals, (engine.gather(local).sum(0) / weight).tolist(), strict=True))


