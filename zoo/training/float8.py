"""Collecting in float8: seen to before weights load, and made ready once they have."""

import torch

from zoo.policy.base import Policy
from zoo.policy.float8 import quantize, require_float8
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe


def require_float8_device(recipe: Recipe, device: torch.device) -> None:
    """Sees that the device can, where a stage collects in float8.

    Raises:
        RecipeError: it cannot.
    """
    stage = _first(recipe)
    if stage is None:
        return
    try:
        require_float8(device)
    except ValueError as error:
        raise _refusal(stage, error) from error


def quantize_weights(recipe: Recipe, policy: Policy) -> int:
    """Rounds the network's weights where a stage collects in float8; the bytes that they take.

    Raises:
        RecipeError: it has no layer for it.
    """
    stage = _first(recipe)
    if stage is None:
        return 0
    try:
        return quantize(policy.weights.network)
    except ValueError as error:
        raise _refusal(stage, error) from error


def _first(recipe: Recipe) -> Recipe | None:
    """Of the first stage that does."""
    stages = (stage.recipe for stage in recipe.timeline)
    return next((s for s in stages if s.sampler.options.get("quantization") == "fp8"), None)


def _refusal(recipe: Recipe, error: ValueError) -> RecipeError:
    place = recipe.origin(("sampler", "quantization"))
    return RecipeError(
        f"{place}: sampler.quantization is fp8: {error}; write sampler.quantization: none"
    )
