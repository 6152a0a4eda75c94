"""The tensors of one process, by a dry run of an epoch on the meta device.

The recipe's own policy, sampler and objective run, so the bytes are those of the code that will
run. Not seen are what an operation needs only while it runs, the rewards' own models, evaluation,
and a checkpoint while it is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.data import prompts as prompt_sources
from zoo.errors import MisfitError, join_lines
from zoo.objective.base import Objective
from zoo.plan.flops import counter
from zoo.plan.geometry import OneImage, Plan, epoch_rows, plan
from zoo.plan.live_bytes import META, LiveBytes, num_bytes
from zoo.plan.stored import StoredOnShapes
from zoo.policy.base import Policy
from zoo.policy.blocks import checkpoint_gradients
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe
from zoo.rollout import Cond, Path, Rows, Weights, join, take
from zoo.sampler.base import Sampler, StoredImages
from zoo.sampler.ode import Euler
from zoo.seeds import Draws
from zoo.training.components import copies, keeps_reference
from zoo.training.micro_batches import largest_shard


class NoEstimateError(Exception):
    """The policy or the sampler needs numbers, not shapes alone; says why."""


@dataclass(frozen=True)
class Footprint:
    """What one process has were nothing in pieces: parameters as meta tensors, the rest in bytes.

    `frozen`, `trained` and `copies` are what an engine may cut in pieces: the network's parameters
    and its other sets. `outside` is all else that is loaded: encoders, VAE, buffers. `building` is
    the most that making these held besides (without reading weights, which has not happened);
    `sampling` and `training` the most that these phases hold besides, gradients not counted.
    `remembered` are the weights of which a forward with gradients keeps a view until its backward:
    where an engine fetches weights for the forward, that keeps the whole of them.
    """

    outside: int
    frozen: tuple[Tensor, ...]
    trained: tuple[Tensor, ...]
    copies: tuple[Tensor, ...]
    building: int
    sampling: int
    training: int
    remembered: int
    accumulates: bool
    """Whether an update has more than one micro-batch."""
    flops: int | None
    """Of an epoch: see `flops`; None where the solver makes as many forwards as it needs."""
    dtype: torch.dtype
    """What most parameters are of."""
    trains: str
    """What of the network is trained, in words."""
    copies_on_host: bool = False
    """Whether the other sets are in the host's memory; what is lent of them is in the phases."""


def footprint(recipe: Recipe, processes: int, moved: frozenset[Weights] = frozenset()) -> Footprint:
    """Of the process that has most to do.

    `moved` are sets of weights that are there besides those that the recipe moves: as a stage of a
    run it does not move all.

    Raises:
        NoEstimateError: there is none for this policy.
        RecipeError: the network has not what an option names.
    """
    planned = plan(recipe, processes)
    try:
        with LiveBytes() as live:
            return _dry_run(recipe, planned, moved | copies(recipe), live)
    except RecipeError as error:
        raise NoEstimateError(str(error)) from error
    except MisfitError as error:
        raise recipe.misfit(error) from error
    except Exception as error:
        raise NoEstimateError(
            f"the policy '{recipe.policy.name}' cannot be run on shapes alone "
            f"({join_lines(error)[:200]})"
        ) from error


def _dry_run(
    recipe: Recipe, planned: Plan, moved: frozenset[Weights], live: LiveBytes
) -> Footprint:
    sampler = recipe.build(recipe.sampler, {})
    objective: Objective[Any] = recipe.build(recipe.objective, {"solver": sampler.solver})
    if sampler.solver is not None and sampler.solver.num_evals(1) is None:
        # It reads numbers to choose its steps. The few latents that it holds between its
        # evaluations, and others do not, are small beside the network.
        sampler.solver = Euler()
    policy = recipe.build(recipe.policy, {"device": META})
    weights = policy.weights
    with META:
        weights.allocate(moved, seed=recipe.seed, reference=keeps_reference(recipe))
    if recipe.engine.gradient_checkpointing:
        checkpoint_gradients(weights.network)
    trained = tuple(weights.parameters().values())
    sharable = tuple(weights.module.parameters())
    sets = _other_sets(policy, {id(p) for p in trained})
    of_a_set = {id(p) for p in (*trained, *sets)}
    loaded, building = live.now, live.peak - live.now
    live.restart()
    dry = _DryEpoch(recipe, planned, policy, sampler, objective)
    path, cond = dry.collect()
    sampling = live.peak - loaded
    rows = epoch_rows(
        recipe, OneImage(sampler, objective, policy, path, cond), 0, planned.processes
    )
    with _Remembered(sharable) as remembered:
        training = dry.train(rows, live) - loaded
    return Footprint(
        outside=loaded - num_bytes(sharable),
        frozen=tuple(p for p in sharable if id(p) not in of_a_set),
        trained=trained,
        copies=sets,
        building=building,
        sampling=sampling,
        training=training - num_bytes(trained),
        remembered=remembered.bytes,
        accumulates=planned.training.count > planned.updates,
        flops=None if planned.collect_forwards is None else dry.count_flops(cond, rows),
        dtype=max(sharable, key=torch.Tensor.numel).dtype,
        trains=weights.trained,
        copies_on_host=weights.copies_on == "cpu",
    )


def _other_sets(policy: Policy, trained: set[int]) -> tuple[Tensor, ...]:
    others: list[Tensor] = []
    for which in Weights:
        try:
            parameters = policy.weights.parameters(which)
        except ValueError:
            continue
        others += [p for p in parameters.values() if id(p) not in trained]
    return tuple(others)


class _DryEpoch:
    """The micro-batches of an epoch that differ: of many alike, one is run."""

    def __init__(
        self,
        recipe: Recipe,
        planned: Plan,
        policy: Policy,
        sampler: Sampler | StoredImages,
        objective: Objective[Any],
    ) -> None:
        self._recipe, self._planned, self._policy = recipe, planned, policy
        self._sampler, self._objective = sampler, objective
        groups = largest_shard(planned.groups, size=planned.processes)
        prompts = prompt_sources.load(recipe.data.train)
        self._prompts = prompt_sources.drawn(prompts, groups, seed=recipe.seed, epoch=0)
        if isinstance(sampler, StoredImages):
            self._stored = StoredOnShapes(recipe, planned, policy, sampler, prompts)

    def collect(self) -> tuple[Path, Cond]:
        """As collecting goes: the last micro-batch while all images before wait for the judge."""
        with torch.no_grad(), self._policy.weights.using(self._objective.acts_with):
            cond = self._policy.encode(self._prompts, guidance=self._sampler.guidance)
            held = self._before_the_last(cond)
            path, _ = self._sample(self._planned.sampling.rows, cond)
            whole = join([*(path for path, _ in held), path])
        return whole, cond

    def train(self, rows: Rows, live: LiveBytes) -> int:
        """The most that is alive during one micro-batch, gradients of the one before included."""
        for p in self._policy.weights.parameters().values():
            p.grad = torch.zeros_like(p)
        live.restart()
        self._learn(rows)
        return live.peak

    def count_flops(self, cond: Cond, rows: Rows) -> int:
        """Of all micro-batches. Counted apart: the counter holds on to tensors."""
        learning = counter()
        with learning:
            self._learn(rows)
        learned = learning.get_total_flops() * self._planned.training.count
        return self._count_collecting_flops(cond) + learned

    def _count_collecting_flops(self, cond: Cond) -> int:
        sampling, collecting = self._planned.sampling, counter()
        if isinstance(self._sampler, StoredImages):
            return self._stored.count_flops(sampling.count)
        with collecting, torch.no_grad(), self._policy.weights.using(self._objective.acts_with):
            self._sample(sampling.rows, cond)
        return collecting.get_total_flops() * sampling.count

    def _sample(self, rows: int, cond: Cond) -> tuple[Path, Tensor]:
        if isinstance(self._sampler, StoredImages):
            return self._stored.read(rows)
        entry = torch.arange(rows) % len(self._prompts)
        draws = Draws(self._recipe.seed, "plan", 0, torch.arange(rows), META)
        wanted = [self._prompts[i] for i in entry.tolist()]
        path = self._sampler.sample(
            self._policy, wanted, take(cond, entry), draws, keep_path=self._objective.needs_path
        )
        return path, self._policy.decode(path.clean)

    def _before_the_last(self, cond: Cond) -> list[tuple[Path, Tensor]]:
        """What all micro-batches but one leave: as many rows of one image's."""
        sampling = self._planned.sampling
        if sampling.count == 1:
            return []
        one, batch = self._sample(1, cond), torch.zeros(sampling.rows, dtype=torch.long)
        return [(take(one[0], batch), take(one[1], batch)) for _ in range(sampling.count - 1)]

    def _learn(self, rows: Rows) -> None:
        batch = self._planned.training.rows
        some = take(rows, torch.zeros(batch, dtype=torch.long))
        draws = Draws(0, "plan", 0, torch.arange(batch), META)
        loss = self._objective.loss(self._policy, some, draws)
        loss.per_row.sum().backward()  # type: ignore[no-untyped-call]


class _Remembered:
    """Sums the parameters of which autograd keeps a view, not the parameter itself."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._left = {p.untyped_storage()._cdata: num_bytes([p]) for p in parameters}
        self.bytes = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda kept: kept)

    def _keep(self, saved: Tensor) -> Tensor:
        if saved._is_view():
            self.bytes += self._left.pop(saved.untyped_storage()._cdata, 0)
        return saved

    def __enter__(self) -> "_Remembered":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__()
