"""What a recipe's parts must have in common: refused before anything is loaded."""

from collections import Counter
from collections.abc import Callable
from typing import Annotated

from zoo.errors import suggest
from zoo.policy.base import Policy
from zoo.recipe.component import Component, Strict
from zoo.recipe.constructor_schema import Slot
from zoo.recipe.errors import Loc, Origin, Origins, RecipeError
from zoo.recipe.explain import validate
from zoo.recipe.float8_checks import FLOAT8_CHECKS
from zoo.recipe.model import Recipe
from zoo.recipe.objective_checks import OBJECTIVE_CHECKS, Mistakes
from zoo.recipe.sections import RewardEntry
from zoo.recipe.source_checks import SOURCE_CHECKS
from zoo.reward.asking import AskingReward
from zoo.sampler.base import Solver

OURS = {
    "bf16": "it would cast LoRA, whose averages need float32; the policy has its own dtype",
    "fp16": "it would cast LoRA, whose averages need float32; the policy has its own dtype",
    "gradient_accumulation_steps": "write engine.micro_batch.train and optim.updates_per_epoch",
    "gradient_clipping": "write optim.max_grad_norm",
    "optimizer": "write optim",
    "scheduler": "write optim.schedule",
    "train_batch_size": "write data.groups_per_epoch and optim.updates_per_epoch",
    "train_micro_batch_size_per_gpu": "write engine.micro_batch.train",
}
"""What DeepSpeed has and a recipe says elsewhere."""

OPEN = (
    "comms_logger",
    "communication_data_type",
    "dump_state",
    "flops_profiler",
    "gradient_predivide_factor",
    "memory_breakdown",
    "prescale_gradients",
    "wall_clock_breakdown",
    "zero_optimization",
)
"""What else is of use here; DeepSpeed ignores a key that it does not know."""


def _offload_has_a_stage(recipe: Recipe) -> Mistakes:
    """What can be moved to the host is what ZeRO shards."""
    stage, offload = recipe.engine.zero_stage, recipe.engine.offload
    needed = {"none": 0, "optimizer": 1, "parameters": 3}[offload]
    if needed and (stage is None or stage < needed):
        allowed = "3" if needed == 3 else "1, 2 or 3"
        yield (
            ("engine", "offload"),
            f"engine.offload is {offload}, which DeepSpeed does at engine.zero_stage {allowed}, "
            f"and the stage is {'null' if stage is None else stage}; "
            f"write engine.zero_stage: {needed}",
        )


def _copies_are_with_the_engine(recipe: Recipe) -> Mistakes:
    """DeepSpeed moves the copies itself, with all that it shards."""
    stage = recipe.engine.zero_stage
    if stage is not None and recipe.policy.options.get("copies_on") == "cpu":
        yield (
            ("policy", "copies_on"),
            "policy.copies_on is cpu, which the plain engine does, and engine.zero_stage is "
            f"{stage}; write engine.zero_stage: null, or copies_on: device (with engine.zero_stage "
            "3, engine.offload: parameters moves them)",
        )


def _float16_is_plain(recipe: Recipe) -> Mistakes:
    """Its losses are scaled, which is not built for DeepSpeed's engine."""
    if recipe.engine.zero_stage is not None and recipe.policy.options.get("dtype") == "float16":
        yield (
            ("policy", "dtype"),
            "policy.dtype is float16, whose losses the plain engine scales, and engine.zero_stage "
            f"is {recipe.engine.zero_stage}; write policy.dtype: bfloat16, or "
            "engine.zero_stage: null",
        )


def _deepspeed_options_are_open(recipe: Recipe) -> Mistakes:
    """Only what the recipe does not say elsewhere, and only where DeepSpeed is used."""
    options, stage = recipe.engine.deepspeed, recipe.engine.zero_stage
    if options and stage is None:
        yield (
            ("engine", "deepspeed"),
            "engine.deepspeed has options, but without a stage DeepSpeed is not used; "
            "write engine.zero_stage: 0, 1, 2 or 3",
        )
    for key in options:
        loc = ("engine", "deepspeed", key)
        if key in OURS:
            yield loc, f"engine.deepspeed.{key} is not open: {OURS[key]}"
        elif key not in OPEN:
            yield loc, f"unknown key 'engine.deepspeed.{key}'{suggest(key, OPEN, 'open')}"
    zero = options.get("zero_optimization")
    inner = zero if isinstance(zero, dict) else {}
    for key, instead in (
        ("stage", "engine.zero_stage"),
        ("offload_optimizer", "engine.offload"),
        ("offload_param", "engine.offload"),
    ):
        # The details of what is offloaded are open: where it lies is not.
        if key in inner and (key == "stage" or "device" in (inner[key] or {})):
            yield (
                ("engine", "deepspeed", "zero_optimization", key),
                f"engine.deepspeed.zero_optimization.{key} is not open: write {instead}",
            )


def _forwards_do_not_depend_on_data(recipe: Recipe) -> Mistakes:
    """Under ZeRO-3 every forward gathers parameters, so all processes must make as many."""
    if recipe.engine.zero_stage != 3:
        return
    solver = recipe.sampler.options.get("solver")
    if isinstance(solver, Component):
        steps = recipe.sampler.options.get("steps", 1)
        yield from _makes_fixed_steps(recipe, ("sampler", "solver"), solver, steps)
    if recipe.eval is not None:
        yield from _makes_fixed_steps(
            recipe, ("eval", "solver"), recipe.eval.solver, recipe.eval.steps
        )


def _makes_fixed_steps(recipe: Recipe, loc: Loc, solver: Component[Solver], steps: int) -> Mistakes:
    if recipe.build(solver, {}).num_evals(steps) is None:
        yield (
            (*loc, "name"),
            f"the solver '{solver.name}' makes as many forwards as its data needs, and under "
            f"engine.zero_stage 3 all processes must make as many; choose a solver of fixed steps "
            "or engine.zero_stage: 2",
        )


def check(recipe: Recipe) -> None:
    """Refuses combinations that cannot work.

    Raises:
        RecipeError: a line for each, with the place and the fix.
    """
    lines = [f"{recipe.origin(loc)}: {text}" for test in CHECKS for loc, text in test(recipe)]
    if lines:
        raise RecipeError(*lines)
    _require_evaluated_size(recipe)


def _gdpo_without_group_std(recipe: Recipe) -> Mistakes:
    if recipe.advantage.mix == "gdpo" and recipe.advantage.std == "group":
        yield (
            ("advantage", "std"),
            "advantage.mix gdpo divides by each group's deviation already and cannot be combined "
            "with advantage.std group; write advantage.std: global or advantage.mix: sum",
        )


def _every_process_has_a_group(recipe: Recipe) -> Mistakes:
    processes, groups = recipe.engine.processes, recipe.data.groups_per_epoch
    if isinstance(processes, int) and processes > groups:
        yield (
            ("engine", "processes"),
            f"engine.processes is {processes} and data.groups_per_epoch is {groups}: a group stays "
            f"on one process, so some would have none; write engine.processes: {groups} or fewer, "
            "or more groups",
        )


def _every_update_has_an_image(recipe: Recipe) -> Mistakes:
    updates = recipe.optim.updates_per_epoch
    images = recipe.data.groups_per_epoch * recipe.data.group_size
    if updates > images:
        yield (
            ("optim", "updates_per_epoch"),
            f"optim.updates_per_epoch is {updates} and an epoch has {images} images "
            f"(data.groups_per_epoch x data.group_size); write {images} or fewer",
        )


def _copies_on_the_host_are_whole_networks(recipe: Recipe) -> Mistakes:
    options = recipe.policy.options
    if options.get("copies_on") == "cpu" and options.get("lora") is not None:
        yield (
            ("policy", "copies_on"),
            "policy.copies_on is cpu, which is for full fine-tuning, and LoRA's copies are small; "
            "write copies_on: device, or lora: null",
        )


def _labels_differ(recipe: Recipe) -> Mistakes:
    evaluated = recipe.eval.rewards if recipe.eval else ()
    yield from _labels_repeat(("rewards",), recipe.rewards)
    yield from _labels_repeat(("eval", "rewards"), evaluated)


def _stop_conditions_can_be_seen(recipe: Recipe) -> Mistakes:
    when = recipe.stop_when
    if when is None:
        return
    for key in ("target", "drift", "falling"):
        if getattr(when, key) is not None and recipe.eval is None:
            yield (
                ("stop_when", key),
                f"stop_when.{key} is seen in evaluations, and there are none; write eval: {{}}",
            )
    if when.target is not None and recipe.eval is not None:
        labels = [entry.label for entry in recipe.eval.rewards or recipe.rewards]
        label = when.target.label
        if label not in labels and label.partition("/")[0] not in labels:
            yield (
                ("stop_when", "target", "label"),
                f"stop_when.target.label is '{label}', which evaluations do not score"
                f"{suggest(label, labels, 'scored')}; add it to eval.rewards",
            )


def _trackers_differ(recipe: Recipe) -> Mistakes:
    """Two of a name would write to one place, under the one id that a run has."""
    for name, count in Counter(tracker.name for tracker in recipe.trackers).items():
        if count > 1:
            yield (
                ("trackers",),
                f"trackers names '{name}' {count} times, and a run has it once; keep one",
            )


def _frames_are_of_rewards_of_images(recipe: Recipe) -> Mistakes:
    evaluated = recipe.eval.rewards if recipe.eval else ()
    for loc, entries in ((("rewards",), recipe.rewards), (("eval", "rewards"), evaluated)):
        for i, entry in enumerate(entries):
            if entry.frames is not None and entry.cls.takes == "videos":
                yield (
                    (*loc, i, "frames"),
                    f"the reward '{entry.label}' looks at whole videos, which have no frames to "
                    "choose for it; remove frames",
                )


def _people_are_asked_in_training_alone(recipe: Recipe) -> Mistakes:
    """What they say compares the images of a prompt, and no model with another."""
    for i, entry in enumerate(recipe.rewards):
        if issubclass(entry.cls, AskingReward) and entry.frames is not None:
            yield (
                ("rewards", i, "frames"),
                f"the reward '{entry.label}' shows people single images, no frames; remove frames, "
                "or train on another reward",
            )
    if recipe.eval is None:
        return
    for i, entry in enumerate(recipe.eval.rewards or recipe.rewards):
        if issubclass(entry.cls, AskingReward):
            yield (
                ("eval", "rewards", i) if recipe.eval.rewards else ("rewards", i),
                f"an evaluation would be scored by '{entry.label}', which asks people to compare "
                "the images of a prompt and says nothing of a model; write other rewards in "
                "eval.rewards, or eval: null",
            )


def _ranks_are_of_what_is_trained_on(recipe: Recipe) -> Mistakes:
    for i, entry in enumerate((recipe.eval.rewards or ()) if recipe.eval else ()):
        if entry.rank:
            yield (
                ("eval", "rewards", i, "rank"),
                "an evaluation reports scores as they are, which have no rank among those of its "
                "prompt; remove rank",
            )


def _evaluated_size_is_one_of_the_policys(recipe: Recipe) -> Mistakes:
    own = recipe.eval.size if recipe.eval else {}
    for key, value in own.items():
        if key not in recipe.policy.cls.sizes:
            yield (
                ("eval", key),
                f"eval.{key} is {value}, and the policy '{recipe.policy.name}' has no option "
                f"'{key}' that evaluations could change; remove it",
            )


def _require_evaluated_size(recipe: Recipe) -> None:
    """Sees that the policy takes it, as its own option.

    Raises:
        RecipeError: it does not.
    """
    own = recipe.eval.size if recipe.eval else {}
    if own:
        places: dict[Loc, Origin] = {("policy", key): recipe.origin(("eval", key)) for key in own}
        data = {"policy": {**recipe.policy.dump(), **own}}
        validate(_OnePolicy, data, Origins(recipe.origins.source, places))


class _OnePolicy(Strict):
    policy: Annotated[Component[Policy], Slot(Policy)]


def _labels_repeat(loc: Loc, rewards: tuple[RewardEntry, ...]) -> Mistakes:
    counts = Counter(reward.label for reward in rewards)
    for label in (label for label, count in counts.items() if count > 1):
        last = max(i for i, reward in enumerate(rewards) if reward.label == label)
        yield (
            (*loc, last),
            f"{counts[label]} rewards in {'.'.join(map(str, loc))} are called '{label}', which "
            f"names their metrics; give one another label: {{..., label: {label}_2}}",
        )


CHECKS: tuple[Callable[[Recipe], Mistakes], ...] = (
    *OBJECTIVE_CHECKS,
    *SOURCE_CHECKS,
    *FLOAT8_CHECKS,
    _gdpo_without_group_std,
    _every_process_has_a_group,
    _every_update_has_an_image,
    _copies_on_the_host_are_whole_networks,
    _labels_differ,
    _trackers_differ,
    _frames_are_of_rewards_of_images,
    _people_are_asked_in_training_alone,
    _ranks_are_of_what_is_trained_on,
    _evaluated_size_is_one_of_the_policys,
    _stop_conditions_can_be_seen,
    _offload_has_a_stage,
    _copies_are_with_the_engine,
    _float16_is_plain,
    _deepspeed_options_are_open,
    _forwards_do_not_depend_on_data,
)
