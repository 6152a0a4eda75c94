"""A policy whose sets of weights say what a test wants, whatever they are asked."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from zoo.policy.base import Policy
from zoo.rollout import Cond, Path, Rollout, Weights


class _Sets:
    """Only which is used."""

    def __init__(self) -> None:
        self.active = Weights.LIVE

    @contextmanager
    def using(self, which: Weights) -> Iterator[None]:
        self.active = which
        yield
        self.active = Weights.LIVE


class Says(Policy):
    """The velocities of all rows by set; `asked` has whom it was asked, and by which guidance."""

    def __init__(self, **velocity: Tensor) -> None:
        self.weights = _Sets()
        self.said = velocity
        self.asked: list[tuple[str, float]] = []

    def velocity(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        self.asked.append((self.weights.active.value, cond.guidance))
        return self.said[self.weights.active.value]


Says.__abstractmethods__ = frozenset()


def one_step_rollout(clean: Tensor, group: Tensor) -> Rollout:
    """Images in groups, collected by four steps."""
    num = len(clean)
    grid = torch.linspace(1, 0, 5, dtype=torch.float64)
    cond = Cond({"image": torch.arange(num)})
    return Rollout(torch.arange(num), group, Path(clean, 4), cond, grid)
