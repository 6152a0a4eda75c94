"""From a recipe to objects.

Rewards come before the model, those of all stages: one that cannot start should stop the run before
weights load.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zoo.data.mixture import Mixture
from zoo.engine.base import AdamWOptions, Engine
from zoo.engine.determinism import use_deterministic_kernels
from zoo.engine.plain import PlainEngine
from zoo.errors import MisfitError
from zoo.objective.base import Objective
from zoo.policy import lora_files
from zoo.policy.base import Policy
from zoo.policy.blocks import checkpoint_gradients, compile_blocks
from zoo.policy.weights import Lora, WeightSets
from zoo.recipe.component import rebuild
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe, Stage
from zoo.reward.judge import Judge
from zoo.rollout import Weights
from zoo.sampler.base import Sampler, StoredImages
from zoo.training.collect import Collector, Groups
from zoo.training.components import (
    Components,
    EvaluationComponents,
    Shared,
    compared_since,
    copies,
    keeps_reference,
    require_fitting_rewards,
)
from zoo.training.drift import base_of
from zoo.training.evaluate import EVALUATION, Evaluator
from zoo.training.learn import Learner
from zoo.training.learning_rate import rate_of
from zoo.training.own_device import use_device
from zoo.training.stored import EncodedImages, ImageCache


@dataclass(frozen=True)
class Model:
    """A policy, the engine that runs it, and its sets of weights besides live: the copies.

    Of a run the copies are the sets that move in any stage, and that a checkpoint keeps.
    """

    engine: Engine
    policy: Policy
    copies: frozenset[Weights]


@dataclass(frozen=True)
class StageRun:
    """Everything that the recipe of one stage names, built; without stages, of the whole run.

    Stages share the model, and the rewards and prompts that they have in common. Evaluations from
    epoch `compared_since` on can be compared with this stage's.
    """

    model: Model
    stage: Stage
    mixture: Mixture
    collector: Collector
    learner: Learner
    evaluator: Evaluator | None
    compared_since: int

    @property
    def recipe(self) -> Recipe:
        """That of the stage."""
        return self.stage.recipe

    @property
    def objective(self) -> Objective[Any]:
        """What it learns by."""
        return self.learner.objective


@dataclass(frozen=True)
class Run:
    """A model and what is done with it, stage by stage; a run without stages has a single one."""

    model: Model
    stages: tuple[StageRun, ...]

    @property
    def epochs(self) -> int:
        """How many it is to have in all."""
        return self.stages[0].stage.run_epochs

    def stage_at(self, epoch: int) -> StageRun:
        """The stage that goes on once so many epochs are done; the last one after its end."""
        return next((run for run in self.stages if epoch < run.stage.end), self.stages[-1])


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

    A `resumed` run gets its weights from a checkpoint: the LoRA to start from is not looked for.

    Raises:
        RecipeError: a component refuses its options, or the network what is asked of it; a reward
            cannot look at what the policy makes.
        RewardError: a reward does not give its known answers.
    """
    if recipe.engine.deterministic:
        use_deterministic_kernels()
    device = use_device(recipe)

    # Prompts, rewards, samplers and objectives of all stages come first: they fail in seconds.
    shared = Shared(device)
    components = [shared.components(stage.recipe) for stage in recipe.timeline]

    # The model, with room for each set of weights that any stage writes.
    policy = recipe.build(recipe.policy, {"device": device})
    require_fitting_rewards(recipe, components, policy)
    for stage in recipe.timeline:
        _require_guidance(stage.recipe, policy)
    _require_even_forwards(recipe, policy)
    moved = copies(recipe)
    _allocate(recipe, policy.weights, moved, reference=keeps_reference(recipe))
    _require_drift(recipe, policy.weights, moved)
    if not resumed:
        _start(recipe, policy.weights, moved)
    _tune(recipe, policy)

    # The engine last: it takes the weights as they are to be trained.
    model = Model(make_engine(recipe, policy.weights, device), policy, moved)
    cache = _image_cache(components)
    stages = zip(recipe.timeline, components, compared_since(recipe), strict=True)
    return Run(model, tuple(_stage_run(model, *stage, cache) for stage in stages))


def _require_guidance(recipe: Recipe, policy: Policy) -> None:
    """A model of the noise draws nothing of use without guidance, and learning from that fails.

    Raises:
        RecipeError: the recipe collects so.
    """
    guidance = recipe.sampler.options.get("guidance", 1.0)
    if not policy.needs_guidance or guidance != 1 or issubclass(recipe.sampler.cls, StoredImages):
        return
    trains = recipe.objective.cls.trains_guided
    fix = "write sampler.guidance: 5" if trains else (
        f"and '{recipe.objective.name}' trains without: take flow_grpo or dpo with guidance"
    )  # fmt: skip
    raise RecipeError(
        f"{recipe.origin(('sampler', 'guidance'))}: the model predicts noise, whose images without "
        f"guidance collapse as they are trained on; {fix}, or policy.allow_unguided: true to insist"
    )


def _require_even_forwards(recipe: Recipe, policy: Policy) -> None:
    """ZeRO 3 fetches weights in every forward from all processes: each must make as many.

    Raises:
        RecipeError: the model's depend on its rows.
    """
    if recipe.engine.zero_stage == 3 and not policy.even_forwards:
        raise RecipeError(
            f"{recipe.origin(('engine', 'zero_stage'))}: engine.zero_stage is 3, where all "
            "processes must make as many forwards, and this model makes one for each expert or "
            "input image of a micro-batch; write engine.zero_stage: 2"
        )


def _allocate(
    recipe: Recipe, weights: WeightSets, copies: frozenset[Weights], *, reference: bool
) -> None:
    try:
        weights.allocate(copies, seed=recipe.seed, reference=reference)
    except MisfitError as error:
        raise recipe.misfit(error) from error


def _image_cache(components: Sequence[Components]) -> ImageCache:
    """One for all stages: an image that one has encoded another need not."""
    samplers = [parts.sampler for parts in components]
    return ImageCache(max([s.cache_gb for s in samplers if isinstance(s, StoredImages)], default=0))


def _stage_run(
    model: Model, stage: Stage, parts: Components, since: int, cache: ImageCache
) -> StageRun:
    """What a stage does with the model."""
    recipe, engine, policy = stage.recipe, model.engine, model.policy
    optim, micro_batch = recipe.optim, recipe.engine.micro_batch.sizes
    learner = Learner(
        engine, policy, parts.objective, optim.updates_per_epoch, micro_batch.train,
        rate_of(stage),
        ema_cap=optim.ema.cap if optim.ema else None,
    )  # fmt: skip
    sampler: Sampler | EncodedImages
    if isinstance(parts.sampler, StoredImages):
        sampler = EncodedImages(parts.sampler, policy, engine.device, cache)
    else:
        sampler = parts.sampler
    return StageRun(
        model, stage, parts.mixture,
        Collector(engine, policy, sampler, parts.judge, micro_batch.sample),
        learner, _evaluator(model, recipe, parts.evaluation), since,
    )  # fmt: skip


def _evaluator(
    model: Model, recipe: Recipe, parts: EvaluationComponents | None
) -> Evaluator | None:
    if parts is None or recipe.eval is None:
        return None
    batch, size = recipe.engine.micro_batch.sizes.sample, recipe.eval.images_per_prompt
    return Evaluator(
        Collector(model.engine, model.policy, parts.sampler, parts.judge, batch),
        Groups(parts.prompts, size, parts.weights, recipe.seed, EVALUATION),
        base_of(model.policy.weights, model.copies),
    )


def image_model(recipe: Recipe, which: Weights, *, trained: bool = False) -> Model:
    """The model on this process's device, with room for one set of weights; builds nothing else.

    Weights of a `trained` run come from a checkpoint.
    """
    device = use_device(recipe)
    policy = recipe.build(recipe.policy, {"device": device})
    wanted = frozenset({which}) & copies(recipe)
    _allocate(recipe, policy.weights, wanted, reference=which is Weights.REFERENCE)
    if not trained:
        _start(recipe, policy.weights, wanted)
    _tune(recipe, policy)
    return Model(plain_engine(recipe, policy.weights, device), policy, wanted)


def evaluation_judge(recipe: Recipe) -> Judge:
    """The rewards that images are evaluated with, on this process's device, and no others."""
    own = recipe.eval.rewards if recipe.eval else ()
    return Shared(use_device(recipe)).judge(recipe, own or recipe.rewards)


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
