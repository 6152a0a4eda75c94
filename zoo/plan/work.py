"""FLOPs of a row's forward and backward, by one of each on the meta device: seconds before a run.

What a run multiplies them by it counts itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from zoo import devices
from zoo.data.mixture import load
from zoo.errors import one_line
from zoo.plan.flops import counter, reachable
from zoo.plan.footprint import NoEstimateError
from zoo.plan.geometry import Plan
from zoo.plan.known_values import known_values
from zoo.plan.live_bytes import META, LiveBytes
from zoo.prompt import Prompt
from zoo.recipe.model import Recipe
from zoo.training.own_device import use_device
from zoo.training.work import Work


@dataclass(frozen=True)
class Row:
    """FLOPs of a row's forward without gradients, and of one with them and its backward."""

    forward: int
    gradient: int
    dtype: torch.dtype
    """What most products are of."""


def works(recipe: Recipe, plans: Sequence[Plan]) -> list[Work]:
    """Of each stage, whose plans these are; on an accelerator what products reach is measured.

    Raises:
        NoEstimateError: the policy cannot be run on shapes alone.
    """
    row, rate = row_of(recipe), None
    device = use_device(recipe)
    if devices.is_accelerator(device):
        rate = _reachable(device, row.dtype)
        devices.release_memory()
    return [
        Work(row.forward, row.gradient, plan.gradient_forwards / max(1, plan.train_forwards), rate)
        for plan in plans
    ]


@lru_cache(maxsize=8)
def _reachable(device: torch.device, dtype: torch.dtype) -> float:
    return reachable(device, dtype)


_known: dict[str, Row] = {}
"""By what the recipe says of its policy: a process may train several times."""


def row_of(recipe: Recipe) -> Row:
    """One row of the recipe's policy.

    Raises:
        NoEstimateError: it cannot be run on shapes alone.
    """
    key = repr(recipe.resolved()["policy"])
    if key not in _known:
        try:
            prompts = load(recipe.data.sources("train")).drawn(1, seed=recipe.seed, epoch=0)
            _known[key] = _counted(recipe, prompts)
        except Exception as error:
            # A policy need not work on shapes alone, and says so as it will.
            raise NoEstimateError(
                f"the policy '{recipe.policy.name}' cannot be run on shapes alone "
                f"({one_line(error)[:200]})"
            ) from error
    return _known[key]


def _counted(recipe: Recipe, prompts: Sequence[Prompt]) -> Row:
    with known_values(), LiveBytes():  # whose attention is counted as one
        policy = recipe.build(recipe.policy, {"device": META})
        with META:
            policy.weights.allocate((), seed=recipe.seed)
        cond = policy.encode(prompts, guidance=1.0)
        with META:
            x, t = torch.zeros(1, *policy.latent_shape), torch.full((1,), 0.5)
        forward, gradient = counter(), counter()
        with torch.no_grad(), forward:
            policy.velocity(x, t, cond)
        with gradient:
            policy.velocity(x, t, cond).sum().backward()  # type: ignore[no-untyped-call]
    weights = policy.weights
    dtype = weights.casts or max(weights.module.parameters(), key=torch.Tensor.numel).dtype
    return Row(forward.get_total_flops(), gradient.get_total_flops(), dtype)
