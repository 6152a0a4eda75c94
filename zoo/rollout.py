"""The frozen tensors that flow from collecting to learning, and how to take rows of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import cache, partial
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from zoo.devices import send

T = TypeVar("T")


class Weights(Enum):
    """The sets of weights of one network.

    `LIVE` is trained, `OLD` collects the images where it differs from live (DiffusionNFT),
    `REFERENCE` is the model as pre-trained unless an objective moves it (online DPO), `EMA`
    averages live for evaluation, `SAMPLING` collects where that is neither live nor old (CRD).
    `BASE` is the model as pre-trained where that is no reference: nothing moves it.
    """

    LIVE = "live"
    OLD = "old"
    REFERENCE = "reference"
    EMA = "ema"
    SAMPLING = "sampling"
    BASE = "base"


@dataclass(frozen=True)
class Lookup:
    """Rows of a shared table: many images of a prompt point at one embedding, never copied."""

    table: Shaped[Tensor, "entries ..."]
    index: Int[Tensor, " rows"]

    def rows(self) -> Shaped[Tensor, "rows ..."]:
        """The rows themselves, gathered (this copies)."""
        return self.table[self.index]


def rows_of(value: Tensor | Lookup) -> Shaped[Tensor, "rows ..."]:
    """The rows of a tensor, which are itself, or of a Lookup."""
    return value.rows() if isinstance(value, Lookup) else value


def shared() -> Any:
    """A dataclass field of all rows together, which `take` and `join` leave as it is."""
    return field(default=None, metadata={"shared": True})


@dataclass(frozen=True)
class Cond:
    """What a policy needs to know of the prompts, by row.

    Only the policy that made it reads the keys. `guidance` is the classifier-free guidance scale
    that `Policy.velocity` applies; 1 is none.
    """

    tensors: Mapping[str, Tensor | Lookup]
    guidance: float = 1.0
    layout: Any = shared()
    """What the rows point into besides, if its policy has any such thing; the same for all rows."""


@dataclass(frozen=True)
class Path:
    """What a solver made of noise: the clean latents and, if it keeps them, the steps on the way.

    `num_evals` counts the evaluations of the field for each row. `log_prob` is NaN where a
    transition has no density: at the last step and outside an SDE window. `mean` is each step's,
    where a transition has none the point that the step came to; it is kept for objectives that ask.
    """

    clean: Float[Tensor, "batch *latent"]
    num_evals: int
    x: Float[Tensor, "batch num_points *latent"] | None = None
    grid: Float[Tensor, " num_points"] | None = shared()
    log_prob: Float[Tensor, "batch num_steps"] | None = None
    mean: Float[Tensor, "batch num_steps *latent"] | None = None


@dataclass(frozen=True)
class Rollout:
    """The images that one process collected in an epoch.

    `key` is an image's index in the epoch over all processes, `group` its prompt group's; `path`
    and `cond` have the same rows. An image whose latents came out non-finite has `clean` zeroed and
    its scores NaN. `grid` is the family's time grid that the images were collected on, if on any.
    Once the images are scored `reward` is the mixed reward of each, NaN of an invalid one, and
    `gate` how much each is held to the reference, where a recipe has a gate: 1 on average.
    """

    key: Int[Tensor, " rows"]
    group: Int[Tensor, " rows"]
    path: Path
    cond: Cond
    grid: Float[Tensor, " num_points"] | None = shared()
    reward: Float[Tensor, " rows"] | None = None
    gate: Float[Tensor, " rows"] | None = None


@dataclass(frozen=True)
class Rows:
    """What an objective trains on; an algorithm adds its own tensors or Lookups by subclassing.

    `key` identifies a row over all processes and seeds its noise, so it must be unique over them:
    derive it from `Rollout.key` or `Rollout.group`. `unit`, likewise of all processes, is what is
    shuffled and cut into updates: rows of one unit (an image's timesteps) are trained in the same
    update. Number the units group by group, as many for each, as `Rollout.key` does: then each
    group is cut evenly, and with it the work of every process. `weight` is any number >= 0; an
    update's loss is the mean with these weights over all processes' rows, so 0 drops a row.
    `batch` says which of the epoch's micro-batches the rows are, where they are one.
    """

    key: Int[Tensor, " rows"]
    unit: Int[Tensor, " rows"]
    weight: Float[Tensor, " rows"]
    batch: int | None = field(default=None, kw_only=True, metadata={"shared": True})


def take(value: T, index: Int[Tensor, " taken"]) -> T:
    """The rows at `index` of a tensor, a Lookup, or a mapping or dataclass of them.

    Numbers, `None` and fields marked `shared()` are left as they are; a Lookup's table is never
    copied. The index is, once to each device that has any of it, and nothing waits for that.
    """
    return _take(value, cache(partial(send, index)))


def _take(value: T, index_on: Callable[[torch.device], Int[Tensor, " taken"]]) -> T:
    if isinstance(value, Tensor):
        return cast(T, value[index_on(value.device)])
    if isinstance(value, Lookup):
        return cast(T, Lookup(value.table, _take(value.index, index_on)))
    if isinstance(value, Mapping):
        return cast(T, {key: _take(entry, index_on) for key, entry in value.items()})
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: _take(getattr(value, f.name), index_on) for f in _row_fields(value)}
        return cast(T, replace(value, **changed))
    return value


def join(parts: list[T]) -> T:
    """The rows of several values of one kind, in order. Lookups must share one table."""
    first = parts[0]
    if isinstance(first, Tensor):
        return cast(T, torch.cat(cast(list[Tensor], parts)))
    if isinstance(first, Lookup):
        lookups = cast(list[Lookup], parts)
        if any(part.table is not first.table for part in lookups):
            raise ValueError(
                "rows of different tables cannot be joined; encode their prompts together"
            )
        return cast(T, Lookup(first.table, torch.cat([part.index for part in lookups])))
    if isinstance(first, Mapping):
        mappings = cast(list[Mapping[str, Any]], parts)
        return cast(T, {key: join([part[key] for part in mappings]) for key in first})
    if is_dataclass(first) and not isinstance(first, type):
        changed = {
            f.name: join([getattr(part, f.name) for part in parts]) for f in _row_fields(first)
        }
        return cast(T, replace(first, **changed))
    return first


def _row_fields(value: object) -> list[Any]:
    return [f for f in fields(cast(Any, value)) if not f.metadata.get("shared")]
