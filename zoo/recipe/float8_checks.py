"""What collecting in float8 (`sampler.quantization: fp8`) asks of a recipe's other parts."""

from collections.abc import Callable

from zoo.recipe.model import Recipe
from zoo.recipe.objective_checks import Mistakes

_NONE = "write sampler.quantization: none"


def _images_alone_are_learned_from(recipe: Recipe) -> Mistakes:
    """A ratio of log-probabilities would be that of two precisions."""
    if _collects_in_float8(recipe) and recipe.objective.cls.needs_path:
        yield (
            ("sampler", "quantization"),
            f"sampler.quantization is fp8 and the objective '{recipe.objective.name}' needs the "
            "path of each image with its log-probabilities, which would be float8's and those of "
            f"training bfloat16's; {_NONE}, or take an objective that learns from images alone",
        )


def _a_frozen_base_is_in_bfloat16(recipe: Recipe) -> Mistakes:
    """Whose weights are rounded once; what is trained changes with every update."""
    if not _collects_in_float8(recipe):
        return
    options = recipe.policy.options
    if "lora" in options and options["lora"] is None:
        yield (
            ("policy", "lora"),
            "sampler.quantization is fp8, of a frozen base, and policy.lora is null, which trains "
            f"the whole network; train LoRA, or {_NONE}",
        )
    elif options.get("dtype", "bfloat16") != "bfloat16":
        yield (
            ("policy", "dtype"),
            f"sampler.quantization is fp8, of a base in bfloat16, and policy.dtype is "
            f"{options['dtype']}; write policy.dtype: bfloat16, or {_NONE}",
        )


def _weights_are_whole(recipe: Recipe) -> Mistakes:
    if _collects_in_float8(recipe) and recipe.engine.zero_stage == 3:
        yield (
            ("engine", "zero_stage"),
            "sampler.quantization is fp8, whose weights every process has whole, and "
            f"engine.zero_stage is 3, which keeps them in pieces; write engine.zero_stage: 2, or "
            f"{_NONE}",
        )


def _collects_in_float8(recipe: Recipe) -> bool:
    return bool(recipe.sampler.options.get("quantization") == "fp8")


FLOAT8_CHECKS: tuple[Callable[[Recipe], Mistakes], ...] = (
    _images_alone_are_learned_from,
    _a_frozen_base_is_in_bfloat16,
    _weights_are_whole,
)
