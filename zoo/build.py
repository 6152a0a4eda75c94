"""From a recipe to objects.

Rewards come before the model: one that cannot start should stop the run before weights load. So
those of all stages are made at once, each once however many stages name it.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zoo.data import prompts as prompt_sources
from zoo.engine.base import AdamWOptions, Engine
from zoo.engine.plain import PlainEngine
from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.policy.blocks import checkpoint_gradients, compile_blocks
from zoo.policy.weights import WeightSets
from zoo.prompt import Prompt
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe, RewardEntry
from zoo.recipe.stage import Stage
from zoo.reward.base import Reward
from zoo.reward.judge import Judge, Judged
from zoo.reward.known import require_known_answers
from zoo.rollout import Weights
from zoo.sampler.base import Sampler
from zoo.sampler.flow_sampler import FlowSampler


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation needs, and the weights that it is of."""

    sampler: Sampler
    judge: Judge
    prompts: Sequence[Prompt]
    weights: Weights


@dataclass(frozen=True)
class Run:
    """Everything that a recipe names, built; with stages, that the recipe of one of them does.

    Stages share the engine, the policy, and the rewards that they have in common.
    """

    recipe: Recipe
    engine: Engine
    policy: Policy
    sampler: Sampler
    judge: Judge
    objective: Objective[Any]
    prompts: Sequence[Prompt]
    evaluation: Evaluation | None
    copies: frozenset[Weights]
    """The sets besides live that move in any stage, and that a checkpoint keeps."""
    stage: Stage
    later: tuple["Run", ...] = ()
    """Of the stages that follow, in order."""

    def at(self, epoch: int) -> "Run":
        """Of the stage that goes on once so many epochs are done; the last one after its end."""
        runs = (self, *self.later)
        return next((run for run in runs if epoch < run.stage.end), runs[-1])


def copies(recipe: Recipe) -> frozenset[Weights]:
    """The sets besides live that a run of this recipe writes, in any of its stages."""
    moved = set().union(*(_objective(stage.recipe)[1].moves for stage in recipe.timeline))
    return frozenset(moved | ({Weights.EMA} if recipe.optim.ema else set()))


def _objective(recipe: Recipe) -> tuple[Sampler, Objective[Any]]:
    sampler: Sampler = recipe.sampler.build({})
    return sampler, recipe.objective.build({"solver": sampler.solver})


def evaluated_weights(recipe: Recipe) -> Weights:
    """The set that a run of this recipe evaluates: the one to show and to share."""
    return Weights.EMA if recipe.optim.ema else Weights.LIVE


def device_of(recipe: Recipe) -> torch.device:
    """This process's device.

    Raises:
        ValueError: the recipe wants CUDA where there is none.
    """
    wanted = recipe.engine.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "engine.device is cuda, but no CUDA device is found; use engine.device: auto or cpu"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= found:
        raise ValueError(
            f"process {local + 1} on this machine has no GPU of its own: there are {found}; "
            f"use engine.processes: {found} or engine.device: cpu"
        )
    return torch.device("cuda", local)


MakeEngine = Callable[[Recipe, WeightSets, torch.device], Engine]


def plain_engine(recipe: Recipe, weights: WeightSets, device: torch.device) -> Engine:
    """One that needs nothing but torch, whatever the recipe trains with: enough to make images."""
    return PlainEngine(weights, _adamw(recipe), device=device)


def engine(recipe: Recipe, weights: WeightSets, device: torch.device) -> Engine:
    """The one that the recipe trains with."""
    options = recipe.engine
    if options.zero_stage is None:
        return plain_engine(recipe, weights, device)
    # DeepSpeed takes seconds to import.
    from zoo.engine.zero import ZeroEngine, ZeroOptions

    zero = ZeroOptions(options.zero_stage, options.offload, options.deepspeed)
    return ZeroEngine(weights, _adamw(recipe), zero, device=device)


def _adamw(recipe: Recipe) -> AdamWOptions:
    optim = recipe.optim
    return AdamWOptions(optim.betas, optim.eps, optim.weight_decay, optim.max_grad_norm)


def build(recipe: Recipe, make_engine: MakeEngine = engine) -> Run:
    """Builds all of it, on this process's device; joins no process group.

    With stages it is the run of the first, and `at` leads to the others.
    """
    device = device_of(recipe)
    if device.type == "cuda":
        # Code that names no device must find this process's own.
        torch.cuda.set_device(device)
    shared = _Shared(device)
    parts = [_parts(stage.recipe, shared) for stage in recipe.timeline]
    policy: Policy = recipe.policy.build({"device": device})
    moved = copies(recipe)
    policy.weights.allocate(moved, seed=recipe.seed)
    _tune(recipe, policy)
    made = make_engine(recipe, policy.weights, device)
    later: tuple[Run, ...] = ()
    for stage, part in zip(reversed(recipe.timeline), reversed(parts), strict=True):
        run = Run(
            stage.recipe, made, policy, part.sampler, part.judge, part.objective, part.prompts,
            part.evaluation, moved, stage, later,
        )  # fmt: skip
        later = (run, *later)
    return later[0]


@dataclass(frozen=True)
class _Parts:
    """What is a stage's own."""

    sampler: Sampler
    objective: Objective[Any]
    judge: Judge
    prompts: Sequence[Prompt]
    evaluation: Evaluation | None


class _Shared:
    """Rewards and prompts, made where they are first asked for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rewards: dict[tuple[type[Reward], str], Reward] = {}
        self._prompts: dict[str, Sequence[Prompt]] = {}

    def prompts(self, source: str) -> Sequence[Prompt]:
        if source not in self._prompts:
            self._prompts[source] = prompt_sources.load(source)
        return self._prompts[source]

    def judge(self, recipe: Recipe, entries: Sequence[RewardEntry]) -> Judge:
        judged = [Judged(entry.label, self._reward(entry), entry.weight) for entry in entries]
        return Judge(judged, timeout=recipe.scoring.timeout, retries=recipe.scoring.retries)

    def _reward(self, entry: RewardEntry) -> Reward:
        if entry.made_from not in self._rewards:
            reward = entry.build({"device": self._device})
            require_known_answers(reward, entry.label, self._device)
            self._rewards[entry.made_from] = reward
        return self._rewards[entry.made_from]


def _parts(recipe: Recipe, shared: _Shared) -> _Parts:
    prompts = shared.prompts(recipe.data.train)
    sampler, objective = _objective(recipe)
    judge = shared.judge(recipe, recipe.rewards)
    evaluation = _evaluation(recipe, judge, prompts, shared)
    return _Parts(sampler, objective, judge, prompts, evaluation)


def _tune(recipe: Recipe, policy: Policy) -> None:
    """Does to the network's blocks what the recipe's engine asks for.

    Raises:
        RecipeError: the network cannot have it.
    """
    for key, change in (
        ("gradient_checkpointing", checkpoint_gradients),
        ("compile", compile_blocks),
    ):
        if getattr(recipe.engine, key):
            try:
                for network in policy.weights.networks:
                    change(network)
            except ValueError as error:
                place = recipe.origin(("engine", key))
                raise RecipeError(f"{place}: engine.{key}: {error}") from error


def _evaluation(
    recipe: Recipe, judge: Judge, prompts: Sequence[Prompt], shared: _Shared
) -> Evaluation | None:
    """With the training rewards and prompts where the recipe names no others."""
    options = recipe.eval
    if options is None:
        return None
    sampler = FlowSampler(
        solver=options.solver.build({}), steps=options.steps, guidance=options.guidance
    )
    return Evaluation(
        sampler,
        shared.judge(recipe, options.rewards) if options.rewards else judge,
        shared.prompts(recipe.data.eval) if recipe.data.eval else prompts,
        evaluated_weights(recipe),
    )
