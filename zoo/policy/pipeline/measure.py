"""What a call of a pipeline for a velocity costs beside its networks: of many, the least.

What else the machine does makes some calls longer and none shorter.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.policy import Diffusers
from zoo.rollout import Cond

_CALLS = 50


@torch.no_grad()
def milliseconds(policy: Diffusers, x: Tensor, t: Tensor, cond: Cond) -> float:
    """Of a velocity whose networks' outputs are there already.

    Rows with one input image, or without any, go through a pipeline in one call.
    """
    with _remembered_networks(policy):
        policy.velocity(x, t, cond)
        least = math.inf
        for _ in range(_CALLS):
            start = time.perf_counter()
            policy.velocity(x, t, cond)
            least = min(least, time.perf_counter() - start)
    return 1000 * least


@contextmanager
def _remembered_networks(policy: Diffusers) -> Iterator[None]:
    """Inside, a network runs once for arguments of the same shapes: trained ones, and others."""
    forward = policy.weights.module
    trained = policy.findings()["trained"]
    others = [net for name, net in policy.seam.networks.items() if name not in trained]
    policy.weights.attach(_remembered(forward))
    for network in others:
        network.__dict__["forward"] = _remembered(network.forward)
    try:
        yield
    finally:
        policy.weights.attach(forward)
        for network in others:
            del network.__dict__["forward"]


def _remembered(forward: Callable[..., Any]) -> Callable[..., Any]:
    kept: dict[Any, Any] = {}

    def remembered(*args: Any, **kwargs: Any) -> Any:
        shapes = [each.shape for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        key = (args[0] if args and isinstance(args[0], str) else "", *shapes)
        if key not in kept:
            kept[key] = forward(*args, **kwargs)
        return kept[key]

    return remembered
