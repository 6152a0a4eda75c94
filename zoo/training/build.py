"""From a recipe to objects.

Rewards come before the model, those of all stages: one that cannot start should stop the run before
weights load.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zoo.engine.base import AdamWOptions, Engine
from zoo.engine.plain import PlainEngine
from zoo.objective.base import Objective
from zoo.policy import lora_files
from zoo.policy.base import Policy
from zoo.policy.blocks import checkpoint_gradients, compile_blocks
from zoo.policy.weights import Lora, WeightSets
from zoo.prompt import Prompt
from zoo.recipe.component import rebuild
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe, Stage
from zoo.reward.judge import Judge
from zoo.rollout import Weights
from zoo.sampler.base import Sampler
from zoo.training.components import Evaluation, Shared, copies, keeps_reference
from zoo.training.drift import base_of


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


@dataclass(frozen=True)
class ImageMaker:
    """A policy with its live weights and the copies asked for: enough to make images."""

    engine: Engine
    policy: Policy
    copies: frozenset[Weights]


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


def build(recipe: Recipe, make_engine: MakeEngine = engine, *, resumed: bool = False) -> Run:
    """Builds all of it, on this process's device; joins no process group.

    With stages it is the run of the first, and `at` leads to the others. A `resumed` run gets its
    weights from a checkpoint: the LoRA to start from is not looked for.
    """
    device = _used(device_of(recipe))
    shared = Shared(device)
    parts = [shared.parts(stage.recipe) for stage in recipe.timeline]
    policy = recipe.build(recipe.policy, {"device": device})
    moved = copies(recipe)
    policy.weights.allocate(moved, seed=recipe.seed, reference=keeps_reference(recipe))
    _require_drift(recipe, policy.weights, moved)
    if not resumed:
        _start(recipe, policy.weights, moved)
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


def image_maker(recipe: Recipe, which: Weights, *, trained: bool = False) -> ImageMaker:
    """The model on this process's device, with room for one set of weights; builds nothing else.

    Weights of a `trained` run come from a checkpoint.
    """
    device = _used(device_of(recipe))
    policy = recipe.build(recipe.policy, {"device": device})
    wanted = frozenset({which}) & copies(recipe)
    policy.weights.allocate(wanted, seed=recipe.seed, reference=which is Weights.REFERENCE)
    if not trained:
        _start(recipe, policy.weights, wanted)
    _tune(recipe, policy)
    return ImageMaker(plain_engine(recipe, policy.weights, device), policy, wanted)


def evaluation_judge(recipe: Recipe) -> Judge:
    """The rewards that images are evaluated with, on this process's device, and no others."""
    own = recipe.eval.rewards if recipe.eval else ()
    return Shared(_used(device_of(recipe))).judge(recipe, own or recipe.rewards)


def _used(device: torch.device) -> torch.device:
    if device.type == "cuda":
        # Code that names no device must find this process's own.
        torch.cuda.set_device(device)
    return device


def lora_of(recipe: Recipe) -> Lora | None:
    """The LoRA that a recipe says, where its policy has the usual option for it."""
    found = rebuild(recipe.policy.options.get("lora"), {})
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


def _require_drift(recipe: Recipe, weights: WeightSets, moved: frozenset[Weights]) -> None:
    if recipe.stop_when is None or recipe.stop_when.drift is None:
        return
    if base_of(weights, moved) is None:
        raise RecipeError(
            f"{recipe.origin(('stop_when', 'drift'))}: stop_when.drift is from the base model, of "
            f"which full fine-tuning keeps nothing where the objective '{recipe.objective.name}' "
            "moves the reference; leave it out, or train LoRA"
        )


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
