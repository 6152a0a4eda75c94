"""The tensors of one process, by a dry run of an epoch on the meta device.

The recipe's own policy, sampler and objective run, so the bytes are those of the code that will
run. Not seen are what an operation needs only while it runs, the rewards' own models, evaluation,
and a checkpoint while it is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.build import copies
from zoo.data import prompts as prompt_sources
from zoo.dealing import largest_share
from zoo.live_bytes import META, LiveBytes, num_bytes
from zoo.objective.base import Objective
from zoo.plan import Plan, epoch_rows, plan
from zoo.policy.base import Policy
from zoo.recipe.model import Recipe
from zoo.rollout import Cond, Path, Rows, Weights, join, take
from zoo.sampler.base import Sampler
from zoo.sampler.ode import Euler
from zoo.seeds import Draws


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
    copies_on_host: bool = False
    """Whether the other sets are in the host's memory; what is lent of them is in the phases."""


def footprint(recipe: Recipe, processes: int) -> Footprint:
    """Of the process that has most to do.

    Raises:
        NoEstimateError: there is none for this policy.
    """
    made = plan(recipe, processes)
    try:
        with LiveBytes() as live:
            return _dry_run(recipe, made, live)
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise NoEstimateError(
            f"the policy '{recipe.policy.name}' cannot be run on shapes alone ({said[:200]})"
        ) from error


def _dry_run(recipe: Recipe, made: Plan, live: LiveBytes) -> Footprint:
    sampler: Sampler = recipe.sampler.build({})
    objective: Objective[Any] = recipe.objective.build({"solver": sampler.solver})
    if sampler.solver is not None and sampler.solver.num_evals(1) is None:
        # It reads numbers to choose its steps. The few latents that it holds between its
        # evaluations, and others do not, are small beside the network.
        sampler.solver = Euler()
    policy: Policy = recipe.policy.build({"device": META})
    weights = policy.weights
    with META:
        weights.allocate(
            copies(recipe, objective),
            seed=recipe.seed,
            reference=Weights.REFERENCE in objective.uses,
        )
    trained = tuple(weights.parameters().values())
    sharable = tuple(weights.module.parameters())
    sets = _other_sets(policy, {id(p) for p in trained})
    of_a_set = {id(p) for p in (*trained, *sets)}
    loaded, building = live.now, live.peak - live.now
    live.restart()
    path, cond = _collected(recipe, made, policy, sampler, objective)
    sampling = live.peak - loaded
    rows = epoch_rows(recipe, sampler, objective, policy, path, cond, 0, made.processes)
    with _Remembered(sharable) as remembered:
        training = _trained(policy, objective, rows, made.training.rows, live) - loaded
    return Footprint(
        outside=loaded - num_bytes(sharable),
        frozen=tuple(p for p in sharable if id(p) not in of_a_set),
        trained=trained,
        copies=sets,
        building=building,
        sampling=sampling,
        training=training - num_bytes(trained),
        remembered=remembered.bytes,
        accumulates=made.training.count > made.updates,
        copies_on_host=weights.copies_on == "cpu",
    )


def _other_sets(policy: Policy, trained: set[int]) -> tuple[Tensor, ...]:
    found: list[Tensor] = []
    for which in Weights:
        try:
            parameters = policy.weights.parameters(which)
        except ValueError:
            continue
        found += [p for p in parameters.values() if id(p) not in trained]
    return tuple(found)


def _collected(
    recipe: Recipe, made: Plan, policy: Policy, sampler: Sampler, objective: Objective[Any]
) -> tuple[Path, Cond]:
    """As `generate` goes: the last micro-batch while all images before it wait for the judge."""
    groups = largest_share(made.groups, size=made.processes)
    prompts = prompt_sources.load(recipe.data.train)
    chosen = prompt_sources.drawn(prompts, groups, seed=recipe.seed, epoch=0)

    def sampled(rows: int) -> tuple[Path, Tensor]:
        entry = torch.arange(rows) % groups
        draws = Draws(recipe.seed, "plan", 0, torch.arange(rows), META)
        wanted = [chosen[i] for i in entry.tolist()]
        path = sampler.sample(
            policy, wanted, take(cond, entry), draws, keep_path=objective.needs_path
        )
        return path, policy.decode(path.clean)

    with torch.no_grad(), policy.weights.using(objective.acts_with):
        cond = policy.encode(chosen, guidance=sampler.guidance)
        held = _before_the_last(sampled, made)
        path, _ = sampled(made.sampling.rows)
        whole = join([*(path for path, _ in held), path])
    return whole, cond


def _before_the_last(
    sampled: Callable[[int], tuple[Path, Tensor]], made: Plan
) -> list[tuple[Path, Tensor]]:
    """What all micro-batches but one leave: as many rows of one image's."""
    if made.sampling.count == 1:
        return []
    one, batch = sampled(1), torch.zeros(made.sampling.rows, dtype=torch.long)
    return [(take(one[0], batch), take(one[1], batch)) for _ in range(made.sampling.count - 1)]


def _trained(
    policy: Policy, objective: Objective[Any], rows: Rows, batch: int, live: LiveBytes
) -> int:
    """The most that is alive during one micro-batch, gradients of the one before included."""
    for p in policy.weights.parameters().values():
        p.grad = torch.zeros_like(p)
    live.restart()
    some = take(rows, torch.zeros(batch, dtype=torch.long))
    draws = Draws(0, "plan", 0, torch.arange(batch), META)
    loss = objective.loss(policy, some, draws)
    loss.per_row.sum().backward()  # type: ignore[no-untyped-call]
    return live.peak


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
