"""What a recipe's DeepSpeed options must agree on with the rest of it."""

from collections.abc import Iterator

from zoo.recipe.component import Component
from zoo.recipe.errors import Loc
from zoo.recipe.model import Recipe
from zoo.registry import suggest
from zoo.sampler.base import Solver

Found = Iterator[tuple[Loc, str]]

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


def offload_has_a_stage(recipe: Recipe) -> Found:
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


def copies_are_with_the_engine(recipe: Recipe) -> Found:
    """DeepSpeed moves the copies itself, with all that it shards."""
    stage = recipe.engine.zero_stage
    if stage is not None and recipe.policy.options.get("copies_on") == "cpu":
        yield (
            ("policy", "copies_on"),
            f"policy.copies_on is cpu, which the plain engine does, and engine.zero_stage is "
            f"{stage}; write engine.zero_stage: null, or copies_on: device (with engine.zero_stage "
            "3, engine.offload: parameters moves them)",
        )


def deepspeed_options_are_open(recipe: Recipe) -> Found:
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


def forwards_do_not_depend_on_data(recipe: Recipe) -> Found:
    """Under ZeRO-3 every forward gathers parameters, so all processes must make as many."""
    if recipe.engine.zero_stage != 3:
        return
    solver = recipe.sampler.options.get("solver")
    if isinstance(solver, Component):
        steps = recipe.sampler.options.get("steps", 1)
        yield from _fixed(("sampler", "solver"), solver, steps)
    if recipe.eval is not None:
        yield from _fixed(("eval", "solver"), recipe.eval.solver, recipe.eval.steps)


def _fixed(loc: Loc, solver: Component[Solver], steps: int) -> Found:
    if solver.build({}).num_evals(steps) is None:
        yield (
            (*loc, "name"),
            f"the solver '{solver.name}' makes as many forwards as its data needs, and under "
            f"engine.zero_stage 3 all processes must make as many; choose a solver of fixed steps "
            "or engine.zero_stage: 2",
        )
