"""The plain engine: one optimizer, gradients averaged over processes by all-reduce.

It needs no wrapper around the network, so forwards go straight to it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from zoo.engine import watchdog
from zoo.engine.base import AdamWOptions, Engine, moments
from zoo.policy.weights import WeightSets
from zoo.rollout import Weights
from zoo.storage.tensor_file import Sharded, local

_PORTION = 2**26
"""Elements that are averaged at a time."""


class PlainEngine(Engine):
    """Trains the live weights, on one process or data-parallel on several."""

    def __init__(self, weights: WeightSets, optim: AdamWOptions, *, device: torch.device) -> None:
        """Every process must have the same live weights."""
        super().__init__(device, scales=weights.computing is torch.float16)
        self._named = weights.parameters(Weights.LIVE)
        self._max_grad_norm = optim.max_grad_norm
        self._optimizer = torch.optim.AdamW(
            list(self._named.values()),
            betas=optim.betas,
            eps=optim.eps,
            weight_decay=optim.weight_decay,
        )

        self._weights = weights
        self._network = weights.module
        weights.attach(self._forward)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        watchdog.pulse()
        return self._network(*args, **kwargs)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a scalar loss."""
        (loss * self.loss_scale.value).backward()  # type: ignore[no-untyped-call]

    def update(self, lr: float) -> float:
        """One AdamW step; see `Engine.update`."""
        for p in self._named.values():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        gradients = [p.grad for p in self._named.values() if p.grad is not None]
        if self.size > 1:
            with self.communication.on_device():
                for portion in _portions(gradients):
                    self._average(portion)
        if self.loss_scale.value != 1.0:
            torch._foreach_div_(gradients, self.loss_scale.value)
        total = get_total_norm(gradients)
        with watchdog.waiting():  # On CUDA the average is not there yet.
            norm = float(total)
        if norm < float("inf"):
            clip_grads_with_norm_(list(self._named.values()), self._max_grad_norm, total)
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            self._optimizer.step()
            self._weights.changed(Weights.LIVE)
        self.loss_scale.updated(is_finite=norm < float("inf"))
        self._optimizer.zero_grad()
        return norm

    def _average(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([g.flatten().float() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        means = flat.split_with_sizes([g.numel() for g in gradients])
        for g, mean in zip(gradients, means, strict=True):
            g.copy_(mean.view_as(g))

    def clip(self, max_grad_norm: float) -> None:
        """Bounds the gradient's norm; see `Engine.clip`."""
        self._max_grad_norm = max_grad_norm

    def state(self) -> dict[str, Sharded]:
        """AdamW's moments and step by parameter; see `Engine.state`."""
        kept = self._optimizer.state
        return {
            f"{name}/{key}": local(value)
            for name, p in self._named.items()
            for key, value in kept.get(p, {}).items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave; see `Engine.load`."""
        self._optimizer.state.clear()
        found = moments(state, self._named)
        for name, keys in found.items():
            p = self._named[name]
            for key in keys:
                value = state[f"{name}/{key}"]
                # Adam keeps its step count on the CPU.
                kept = value.clone() if key == "step" else value.to(p.device, p.dtype).clone()
                self._optimizer.state[p][key] = kept


def _portions(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    portion: list[Tensor] = []
    for g in gradients:
        portion.append(g)
        if sum(each.numel() for each in portion) >= _PORTION:
            yield portion
            portion = []
    if portion:
        yield portion
