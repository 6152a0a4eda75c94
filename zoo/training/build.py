"""From a recipe to objects.

Rewards come before the model, those of all stages: one that cannot start should stop the run before
weights load.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
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
from zoo.policy.waiting import networks_wait
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
    allocate,
    compared_since,
    copies,
    require_fitting_rewards,
)
from zoo.training.drift import base_of
from zoo.training.evaluate import EVALUATION, Evaluator
from zoo.training.float8 import quantize_weights, require_float8_device
from zoo.training.learn import Learner
from zoo.training.learning_rate import rate_of
from zoo.training.own_device import use_device
from zoo.training.policy_sizes import PolicySizes
from zoo.training.requirements import require_even_forwards, require_guidance
from zoo.training.stored import EncodedImages, ImageCache
from zoo.training.work import Work


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

    Stages share the model, whose policy makes images of a stage's own size, and the rewards and
    prompts that they have in common. Evaluations from epoch `compared_since` on can be compared
    with this stage's. `work` is what a row's forward takes, for the speed, where that is known.
    """

    model: Model
    stage: Stage
    mixture: Mixture
    collector: Collector
    learner: Learner
    evaluator: Evaluator | None
    compared_since: int
    work: Work | None = None

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
    """A model and what is done with it, stage by stage; a run without stages has a single one.

    Its policy is that of the first stage; a stage with images of another size has its own.
    """

    model: Model
    stages: tuple[StageRun, ...]
    sizes: PolicySizes

    @property
    def epochs(self) -> int:
        """How many it is to have in all."""
        return self.stages[0].stage.run_epochs

    @property
    def of_other_sizes(self) -> tuple[StageRun, ...]:
        """The first stage with images of each size that is not the first one's."""
        first: dict[Policy, StageRun] = {}
        for stage in self.stages:
            first.setdefault(stage.model.policy, stage)
        return tuple(run for policy, run in first.items() if policy is not self.model.policy)

    def of_works(self, works: Sequence[Work]) -> "Run":
        """The same, with what a row's forward takes in each stage."""
        stages = zip(self.stages, works, strict=True)
        return replace(self, stages=tuple(replace(stage, work=work) for stage, work in stages))

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
    from zoo.engine.zero import ZeroEngine
    from zoo.engine.zero_options import ZeroOptions

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
    require_float8_device(recipe, device)

    # Prompts, rewards, samplers and objectives of all stages come first: they fail in seconds.
    shared = Shared(device)
    components = [shared.components(stage.recipe) for stage in recipe.timeline]

    # The model, with room for each set of weights that any stage writes.
    cuts = make_engine is engine and recipe.engine.zero_stage == 3
    with networks_wait() if cuts else nullcontext():
        sizes = PolicySizes(recipe, device)
    policy = sizes.first
    require_fitting_rewards(recipe, components, policy)
    for stage in recipe.timeline:
        require_guidance(stage.recipe, policy)
    require_even_forwards(recipe, policy)
    moved = copies(recipe)
    with _misfits_of(recipe):
        allocate(recipe, policy.weights)
    if not resumed:
        _start(recipe, policy.weights, moved)
    quantize_weights(recipe, policy)
    _tune(recipe, policy)

    # The engine last: it takes the weights as they are to be trained.
    model = Model(make_engine(recipe, policy.weights, device), policy, moved)
    if cuts:
        for each in sizes.every:
            each.ready()
    caches = _image_caches(components, sizes)
    models = [_at_size(model, sizes.trained(stage.recipe)) for stage in recipe.timeline]
    stages = zip(models, recipe.timeline, components, compared_since(recipe), strict=True)
    return Run(model, tuple(_stage_run(*stage, sizes, caches) for stage in stages), sizes)


def _at_size(model: "Model", policy: Policy) -> "Model":
    return model if policy is model.policy else replace(model, policy=policy)


@contextmanager
def _misfits_of(recipe: Recipe) -> Iterator[None]:
    """What does not suit the model is said of the recipe's line."""
    try:
        yield
    except MisfitError as error:
        raise recipe.misfit(error) from error


def _image_caches(
    components: Sequence[Components], sizes: PolicySizes
) -> Mapping[Policy, ImageCache]:
    """One for all stages of a size: an image that one has encoded another need not."""
    samplers = [parts.sampler for parts in components]
    gb = max([s.cache_gb for s in samplers if isinstance(s, StoredImages)], default=0)
    return {policy: ImageCache(gb) for policy in sizes.every}


def _stage_run(
    model: Model,
    stage: Stage,
    parts: Components,
    since: int,
    sizes: PolicySizes,
    caches: Mapping[Policy, ImageCache],
) -> StageRun:
    """What a stage does with the model, which makes images of the stage's size."""
    recipe, engine, policy = stage.recipe, model.engine, model.policy
    optim, micro_batch = recipe.optim, recipe.engine.micro_batch.sizes
    learner = Learner(
        engine, policy, parts.objective, optim.updates_per_epoch, micro_batch.train,
        rate_of(stage),
        ema_cap=optim.ema.cap if optim.ema else None,
    )  # fmt: skip
    sampler: Sampler | EncodedImages
    if isinstance(parts.sampler, StoredImages):
        sampler = EncodedImages(parts.sampler, policy, engine.device, caches[policy])
    else:
        sampler = parts.sampler
    return StageRun(
        model, stage, parts.mixture,
        Collector(engine, policy, sampler, parts.judge, micro_batch.sample),
        learner, _evaluator(model, recipe, parts.evaluation, sizes.evaluated(recipe)), since,
    )  # fmt: skip


def _evaluator(
    model: Model, recipe: Recipe, parts: EvaluationComponents | None, policy: Policy
) -> Evaluator | None:
    if parts is None or recipe.eval is None:
        return None
    batch, size = recipe.engine.micro_batch.sizes.sample, recipe.eval.images_per_prompt
    return Evaluator(
        Collector(model.engine, policy, parts.sampler, parts.judge, batch),
        Groups(parts.prompts, size, parts.weights, recipe.seed, EVALUATION),
        base_of(model.policy.weights, model.copies),
    )


def image_model(recipe: Recipe, which: Weights, *, trained: bool = False) -> Model:
    """The model on this process's device, with room for one set of weights; builds nothing else.

    It makes images of the size of evaluations. Weights of a `trained` run come from a checkpoint.
    """
    device, recipe = use_device(recipe), recipe.for_images()
    policy = recipe.build(recipe.policy, {"device": device})
    wanted = frozenset({which}) & copies(recipe)
    with _misfits_of(recipe):
        reference = which is Weights.REFERENCE
        policy.weights.allocate(wanted, seed=recipe.seed, reference=reference)
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
