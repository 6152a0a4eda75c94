"""From a recipe to objects.

Rewards come before the model: one that cannot start should stop the run before weights load.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zoo import lora_files
from zoo.data import prompts as prompt_sources
from zoo.engine.base import AdamWOptions, Engine
from zoo.engine.plain import PlainEngine
from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.policy.weights import Lora, WeightSets
from zoo.prompt import Prompt
from zoo.recipe.component import rebuilt
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe, RewardEntry
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
    """Everything a recipe names, built."""

    recipe: Recipe
    engine: Engine
    policy: Policy
    sampler: Sampler
    judge: Judge
    objective: Objective[Any]
    prompts: Sequence[Prompt]
    evaluation: Evaluation | None

    @property
    def copies(self) -> frozenset[Weights]:
        """The sets besides live that move, and that a checkpoint keeps."""
        return copies(self.recipe, self.objective)


def copies(recipe: Recipe, objective: Objective[Any]) -> frozenset[Weights]:
    """The sets besides live that a run of this recipe writes."""
    return objective.moves | ({Weights.EMA} if recipe.optim.ema else set())


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


def build(
    recipe: Recipe,
    make_engine: MakeEngine = engine,
    *,
    resumed: bool = False,
    shown: Weights | None = None,
) -> Run:
    """Builds all of it, on this process's device; joins no process group.

    A `resumed` run gets its weights from a checkpoint: the LoRA to start from is not looked for.
    `shown` are weights to make images with, whether the objective uses them or not.
    """
    device = device_of(recipe)
    if device.type == "cuda":
        # Code that names no device must find this process's own.
        torch.cuda.set_device(device)
    prompts = prompt_sources.load(recipe.data.train)
    sampler: Sampler = recipe.sampler.build({})
    objective: Objective[Any] = recipe.objective.build({"solver": sampler.solver})
    judge = _judge(recipe, recipe.rewards, device)
    evaluation = _evaluation(recipe, judge, prompts, device)
    policy: Policy = recipe.policy.build({"device": device})
    policy.weights.allocate(
        copies(recipe, objective),
        seed=recipe.seed,
        reference=Weights.REFERENCE in {*objective.uses, shown},
    )
    if not resumed:
        _start(recipe, policy.weights, copies(recipe, objective))
    made = make_engine(recipe, policy.weights, device)
    return Run(recipe, made, policy, sampler, judge, objective, prompts, evaluation)


def lora_of(recipe: Recipe) -> Lora | None:
    """The LoRA that a recipe says, where its policy has the usual option for it."""
    found = rebuilt(recipe.policy.options.get("lora"), {})
    return found if isinstance(found, Lora) else None


def start_place(recipe: Recipe) -> str:
    """Where a recipe names the LoRA that it starts from."""
    return f"{recipe.origin(('policy', 'lora', 'start'))}: policy.lora.start"


def _start(recipe: Recipe, weights: WeightSets, copies: frozenset[Weights]) -> None:
    if weights.lora is None or weights.lora.start is None:
        return
    try:
        lora_files.start_from(weights.lora.start, weights, copies)
    except lora_files.LoraError as error:
        raise RecipeError(f"{start_place(recipe)}: {error}") from error


def _judge(recipe: Recipe, entries: Sequence[RewardEntry], device: torch.device) -> Judge:
    judged = []
    for entry in entries:
        reward = entry.build({"device": device})
        require_known_answers(reward, entry.label, device)
        judged.append(Judged(entry.label, reward, entry.weight))
    return Judge(judged, timeout=recipe.scoring.timeout, retries=recipe.scoring.retries)


def _evaluation(
    recipe: Recipe, judge: Judge, prompts: Sequence[Prompt], device: torch.device
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
        _judge(recipe, options.rewards, device) if options.rewards else judge,
        prompt_sources.load(recipe.data.eval) if recipe.data.eval else prompts,
        evaluated_weights(recipe),
    )
