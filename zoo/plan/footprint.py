"""The tensors of one process, by a dry run of an epoch and an evaluation on the meta device.

The recipe's own policy, sampler and objective run, so the bytes are those of the code that will
run; rewards and text encoders say what theirs are. Not seen are what an operation needs only while
it runs, what a reward or an encoder holds besides its weights while it is at work, images that wait
where sources of prompts have slow rewards of their own, and a checkpoint while it is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zoo.data.mixture import load
from zoo.errors import MisfitError, join_lines
from zoo.objective.base import Objective
from zoo.plan.dry_collect import DryCollect, evaluated_images, training_images, with_steps
from zoo.plan.flops import counter
from zoo.plan.geometry import OneImage, Plan, epoch_rows, plan
from zoo.plan.known_values import known_values
from zoo.plan.live_bytes import META, LiveBytes, num_bytes
from zoo.plan.reward_bytes import RewardBytes, reward_bytes
from zoo.plan.stored import StoredOnShapes
from zoo.policy.base import Policy
from zoo.policy.blocks import checkpoint_gradients
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe
from zoo.rollout import Rows, Weights, take
from zoo.sampler.base import StoredImages
from zoo.seeds import Draws
from zoo.training.components import allocate
from zoo.training.float8 import quantize_weights
from zoo.training.policy_sizes import PolicySizes

_COUNTS = ("policy", "rewards", "eval", "sampler", "objective", "data")
"""What stages may have otherwise that changes what they hold."""


class NoEstimateError(Exception):
    """The policy or the sampler needs numbers, not shapes alone; says why."""


@dataclass(frozen=True)
class Footprint:
    """What one process has were nothing in pieces: parameters as meta tensors, the rest in bytes.

    `frozen`, `trained` and `copies` are what an engine may cut in pieces: the network's parameters
    and its other sets. `outside` is all else that is loaded and stays: the autoencoder, buffers.
    `quantized` are weights in float8 beside the frozen ones, whole on every process.
    `encoders` come to the device to encode prompts and leave it again. `building` is the most that
    making what is held held besides; `sampling`, `training` and `evaluating` the most that these
    phases hold besides, gradients not counted. `remembered` are the weights of which a forward with
    gradients keeps a view until its backward: where an engine fetches weights for the forward, that
    keeps the whole of them. `unknown` says what is in none of these numbers.
    """

    outside: int
    encoders: int
    frozen: tuple[Tensor, ...]
    trained: tuple[Tensor, ...]
    copies: tuple[Tensor, ...]
    rewards: RewardBytes
    building: int
    sampling: int
    training: int
    evaluating: int | None
    """None where the recipe has no evaluation."""
    remembered: int
    accumulates: bool
    """Whether an update has more than one micro-batch."""
    flops: int | None
    """Of an epoch: see `flops`; None where the solver makes as many forwards as it needs."""
    dtype: torch.dtype
    """What most products are of."""
    trains: str
    """What of the network is trained, in words."""
    adapters: bool = False
    """Whether these are adapters, whose gradients an engine may hold whole."""
    quantized: int = 0
    copies_on_host: bool = False
    """Whether the other sets are in the host's memory; what is lent of them is in the phases."""
    unknown: tuple[str, ...] = ()


def footprints(recipe: Recipe, processes: int) -> list[Footprint]:
    """Of each stage; one dry run for those that differ in nothing that counts.

    Raises:
        NoEstimateError: there is none for this policy.
        RecipeError: the network has not what an option names.
    """
    found: dict[str, Footprint] = {}
    keys: list[str] = []
    for stage in recipe.timeline:
        whole = stage.recipe.resolved()
        counts = [whole["optim"]["updates_per_epoch"]]
        if issubclass(stage.recipe.sampler.cls, StoredImages):
            # How often an image comes again.
            counts.append(whole["epochs"])
        keys.append(repr(counts + [whole[key] for key in _COUNTS]))
        if keys[-1] not in found:
            found[keys[-1]] = footprint(stage.recipe, processes, recipe)
    return [found[key] for key in keys]


def footprint(recipe: Recipe, processes: int, run: Recipe | None = None) -> Footprint:
    """Of the process that has most to do.

    `run` is what the recipe is a stage of: it has the sets of weights that it moves in any of its
    stages, and the rewards of all. By default the recipe is a run of its own.

    Raises:
        NoEstimateError: there is none for this policy.
        RecipeError: the network has not what an option names.
    """
    planned, run = plan(recipe, processes), run or recipe
    try:
        with known_values(), LiveBytes() as live:
            return _dry_run(recipe, planned, run, live)
    except RecipeError as error:
        raise NoEstimateError(str(error)) from error
    except MisfitError as error:
        raise recipe.misfit(error) from error
    except Exception as error:
        raise NoEstimateError(
            f"the policy '{recipe.policy.name}' cannot be run on shapes alone "
            f"({join_lines(error)[:200]})"
        ) from error


def _dry_run(recipe: Recipe, planned: Plan, run: Recipe, live: LiveBytes) -> Footprint:
    sizes = PolicySizes(recipe, META)
    policy, weights = sizes.first, sizes.first.weights
    with META:
        allocate(run, weights)
    quantized = quantize_weights(run, policy)
    if recipe.engine.gradient_checkpointing:
        checkpoint_gradients(weights.network)
    trained = tuple(weights.parameters().values())
    sharable = tuple(weights.module.parameters())
    sets = _other_sets(policy, {id(p) for p in trained})
    of_a_set = {id(p) for p in (*trained, *sets)}
    loaded, building = live.now, live.peak - live.now
    rewards, encoders = reward_bytes(run, recipe), policy.encoder_bytes()
    evaluating = _evaluate(recipe, planned.processes, sizes.evaluated(recipe), live)
    dry = _DryEpoch(recipe, planned, policy, live)
    sampling = dry.collect() - loaded
    with _Remembered(sharable) as remembered:
        training = dry.train() - loaded
    return Footprint(
        outside=loaded - num_bytes(sharable) - quantized,
        encoders=encoders or 0,
        frozen=tuple(p for p in sharable if id(p) not in of_a_set),
        trained=trained,
        copies=sets,
        rewards=rewards,
        building=building,
        sampling=sampling,
        training=training - num_bytes(trained),
        evaluating=evaluating,
        remembered=remembered.bytes,
        accumulates=planned.training.count > planned.updates,
        flops=None if planned.collect_forwards is None else dry.count_flops(),
        dtype=weights.casts or max(sharable, key=torch.Tensor.numel).dtype,
        trains=weights.trained,
        adapters=weights.lora is not None,
        quantized=quantized,
        copies_on_host=weights.copies_on == "cpu",
        unknown=tuple(_unknown(recipe, encoders, rewards)),
    )


def _unknown(recipe: Recipe, encoders: int | None, rewards: RewardBytes) -> list[str]:
    """What says nothing of its size, by name."""
    named = [f"the reward '{label}'" for label in rewards.unknown]
    if encoders is None:
        named.append(f"text encoders of the policy '{recipe.policy.name}' that leave its device")
    return named


def _other_sets(policy: Policy, trained: set[int]) -> tuple[Tensor, ...]:
    others: list[Tensor] = []
    for which in Weights:
        try:
            parameters = policy.weights.parameters(which)
        except ValueError:
            continue
        others += [p for p in parameters.values() if id(p) not in trained]
    return tuple(others)


def _evaluate(recipe: Recipe, processes: int, policy: Policy, live: LiveBytes) -> int | None:
    """The most that an evaluation holds besides what is loaded."""
    asked = evaluated_images(recipe, processes)
    if asked is None:
        return None
    sampler, images = asked
    return live.highest(DryCollect(policy, sampler, images, live).run)[1]


class _DryEpoch:
    """An epoch's collecting, then its learning: of the micro-batches that are alike, one is run."""

    def __init__(self, recipe: Recipe, planned: Plan, policy: Policy, live: LiveBytes) -> None:
        self._recipe, self._planned, self._policy = recipe, planned, policy
        self._live = live
        self._sampler = recipe.build(recipe.sampler, {})
        self._objective: Objective[Any] = recipe.build(
            recipe.objective, {"solver": self._sampler.solver}
        )
        with_steps(self._sampler)
        images = training_images(recipe, planned, self._objective)
        stored = None
        if isinstance(self._sampler, StoredImages):
            prompts = load(recipe.data.sources("train")).prompts
            stored = StoredOnShapes(recipe, planned, policy, self._sampler, prompts)
        self._images = DryCollect(policy, self._sampler, images, live, stored)

    def collect(self) -> int:
        """The most that is alive meanwhile."""
        self._live.restart()
        path, cond = self._images.run()
        peak = self._live.peak
        # Held while it is learned from, as in a run.
        self._one = OneImage(self._sampler, self._objective, self._policy, path, cond)
        self._rows = epoch_rows(self._recipe, self._one, 0, self._planned.processes)
        return peak

    def train(self) -> int:
        """The most that is alive during one micro-batch, gradients of the one before included."""
        for p in self._policy.weights.parameters().values():
            p.grad = torch.zeros_like(p)
        self._live.restart()
        self._learn(self._rows)
        return self._live.peak

    def count_flops(self) -> int:
        """Of all micro-batches. Counted apart: the counter holds on to tensors."""
        learning, period = counter(), self._objective.period
        with learning:
            for batch in range(period):
                self._learn(replace(self._rows, batch=batch))
        learned = learning.get_total_flops() * self._planned.training.count // period
        return self._images.count_flops(self._one.cond) + learned + self._count_recall_flops()

    def _count_recall_flops(self) -> int:
        """Of the micro-batches of all updates but the first."""
        recalling, planned = counter(), self._planned
        if self._objective.recalls:
            with recalling:
                self._objective.recall(self._policy, *self._some(self._rows))
        later = planned.training.count * (planned.updates - 1) // planned.updates
        return recalling.get_total_flops() * later

    def _learn(self, rows: Rows) -> None:
        some, draws = self._some(rows)
        if self._objective.looks_ahead:
            with torch.no_grad():
                self._objective.measure(self._policy, some, draws)
        loss = self._objective.loss(self._policy, some, draws)
        loss.per_row.sum().backward()  # type: ignore[no-untyped-call]

    def _some(self, rows: Rows) -> tuple[Rows, Draws]:
        """A micro-batch."""
        batch = self._planned.training.rows
        return (
            take(rows, torch.zeros(batch, dtype=torch.long)),
            Draws(0, "plan", 0, torch.arange(batch), META),
        )


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
