"""A training that is cut off and started again goes on where it was."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

SAVED_EVERY = 180.0
"""Seconds."""
_SAID_EVERY = 30.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; the rate rises at first, and then falls as a cosine."""

    steps: int
    batch: int
    lr: float
    warm: int = 200
    averaged_over: float = 0.02
    """The share of all steps that averaged weights (EMA) remember."""

    def rate(self, step: int) -> float:
        """Of the step, as a share of `lr`."""
        falling = 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return min(1.0, (step + 1) / self.warm) * (0.02 + 0.98 * falling)

    def decay(self, step: int) -> float:
        """How much of the averaged weights a step keeps."""
        return min(1.0 - 1.0 / max(self.averaged_over * self.steps, 2.0), (step + 1) / (step + 10))


def train(
    name: str,
    model: nn.Module,
    loss_of: Callable[[int], Float[Tensor, ""]],
    schedule: Schedule,
    folder: Path,
) -> None:
    """Trains a model, and leaves it with averaged weights.

    `loss_of` a step must depend on that number and the weights alone: then a training that was cut
    off comes to the same weights. Its state is in `folder`, in a file of that name.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, schedule.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    averaged = [p.detach().clone() for p in parameters]
    file = folder / f"{name}.pt"
    first = _restored(file, parameters, optimizer, averaged)
    said = _Said(name, schedule, first)
    saved = time.monotonic()
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr * schedule.rate(step)
        loss = loss_of(step)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch._foreach_lerp_(averaged, [p.detach() for p in parameters], 1.0 - schedule.decay(step))
        said.step(step, loss.item())
        if step + 1 == schedule.steps or time.monotonic() - saved > SAVED_EVERY:
            _save(file, step + 1, parameters, optimizer, averaged)
            saved = time.monotonic()
    with torch.no_grad():
        for parameter, average in zip(parameters, averaged, strict=True):
            parameter.copy_(average)


def _save(
    file: Path, step: int, parameters: list[Any], optimizer: Any, averaged: list[Tensor]
) -> None:
    """Writes the state whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "parameters": [p.detach() for p in parameters],
        "optimizer": optimizer.state_dict(),
        "averaged": averaged,
    }
    new = file.with_suffix(".new")
    torch.save(state, new)
    os.replace(new, file)


def _restored(file: Path, parameters: list[Any], optimizer: Any, averaged: list[Tensor]) -> int:
    """The step to go on with."""
    if not file.is_file():
        return 0
    state = torch.load(file, weights_only=True)
    with torch.no_grad():
        for into, saved in ((parameters, state["parameters"]), (averaged, state["averaged"])):
            for tensor, value in zip(into, saved, strict=True):
                tensor.copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


class _Said:
    """Prints how far a training is, how fast, and its loss."""

    def __init__(self, name: str, schedule: Schedule, first: int) -> None:
        self._name, self._schedule, self._first = name, schedule, first
        self._began = self._last = time.monotonic()
        self._losses: list[float] = []
        if first:
            print(f"{name}: goes on at step {first:,}", flush=True)

    def step(self, step: int, loss: float) -> None:
        """After each."""
        self._losses.append(loss)
        now, steps = time.monotonic(), self._schedule.steps
        if now - self._last < _SAID_EVERY and step + 1 < steps:
            return
        rate = (step + 1 - self._first) / (now - self._began)
        left = (steps - step - 1) / rate / 60
        mean = sum(self._losses) / len(self._losses)
        print(
            f"{self._name}: step {step + 1:,} of {steps:,}, loss {mean:.4f}, "
            f"{rate * self._schedule.batch:.0f} samples/s, {left:.0f} min left",
            flush=True,
        )
        self._last, self._losses = now, []
