"""The plain engine: one optimizer, gradients averaged over processes by one all-reduce.

It needs no wrapper around the network, so forwards go straight to it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.engine.base import Engine
from zoo.policy.weights import WeightSets
from zoo.rollout import Weights


@dataclass(frozen=True)
class AdamWOptions:
    """AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) and the bound on the gradient's norm."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-4
    max_grad_norm: float = 1.0


class PlainEngine(Engine):
    """Trains the live weights, on one process or data-parallel on several."""

    def __init__(self, weights: WeightSets, optim: AdamWOptions, *, device: torch.device) -> None:
        """Takes its rank and size from the process group; where there is none, it is alone."""
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.size = dist.get_world_size() if dist.is_initialized() else 1
        self.device = device
        self._named = weights.parameters(Weights.LIVE)
        self._max_grad_norm = optim.max_grad_norm
        self._optimizer = torch.optim.AdamW(
            list(self._named.values()),
            betas=optim.betas,
            eps=optim.eps,
            weight_decay=optim.weight_decay,
        )

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a scalar loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self, lr: float) -> float:
        """One AdamW step; see `Engine.update`."""
        gradients = [
            p.grad if p.grad is not None else torch.zeros_like(p) for p in self._named.values()
        ]
        flat = torch.cat([g.flatten().float() for g in gradients])
        if self.size > 1:
            dist.all_reduce(flat)
            flat /= self.size
        norm = float(torch.linalg.vector_norm(flat))
        if norm < float("inf"):
            flat *= min(1.0, self._max_grad_norm / (norm + 1e-6))
            parts = flat.split_with_sizes([g.numel() for g in gradients])
            for p, g in zip(self._named.values(), parts, strict=True):
                p.grad = g.view_as(p).to(p.dtype)
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            self._optimizer.step()
        self._optimizer.zero_grad()
        return norm

    def gather(self, local: Tensor) -> Tensor:
        """The rows of every process, in rank order, on the CPU."""
        local = local.detach().cpu().contiguous()
        if self.size == 1:
            return local
        counts = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(local)]))
        most = max(int(count) for count in counts)
        padded = local.new_zeros(most, *local.shape[1:])
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])

    def state(self) -> dict[str, Tensor]:
        """AdamW's moments and step by parameter; empty before the first update."""
        moments = self._optimizer.state
        return {
            f"{name}/{key}": value
            for name, p in self._named.items()
            for key, value in moments.get(p, {}).items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self._optimizer.state.clear()
        for key, value in state.items():
            name, moment = key.rsplit("/", 1)
            if name not in self._named:
                raise ValueError(
                    f"the optimizer state is of other weights: '{name}' is not trained here"
                )
            p = self._named[name]
            # Adam keeps its step count on the CPU.
            kept = value.clone() if moment == "step" else value.to(p.device, p.dtype).clone()
            self._optimizer.state[p][moment] = kept


def join(timeout: float) -> int:
    """Joins the other processes, where a launcher started this one among several.

    `timeout` in seconds is how long any process waits for the others. Returns their number.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    return size


def leave() -> None:
    """Leaves the process group, if in one."""
    if dist.is_initialized():
        dist.destroy_process_group()
