"""The Engine interface: backward, update, and the little that processes say to each other."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class Engine(ABC):
    """Owns the optimizer. `backward` any number of times, then one `update`.

    Losses are averaged over processes, so a process passes `size` times its share of the global
    mean.
    """

    rank: int
    size: int
    device: torch.device

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a scalar loss."""

    @abstractmethod
    def update(self, lr: float) -> float:
        """One optimizer step at this learning rate with clipped gradients, which it then clears.

        Returns their norm over all processes before clipping. Where that is not finite nothing is
        changed.
        """

    @abstractmethod
    def gather(self, local: Tensor) -> Tensor:
        """The rows of every process, in rank order, on the CPU; their numbers may differ."""

    def gather_lines(self, local: Iterable[str]) -> tuple[str, ...]:
        """The lines of text of every process, in rank order, each once."""
        text = "\n".join(" ".join(line.split("\n")) for line in local)
        mine = torch.tensor(list(f"{text}\n".encode()) if text else [], dtype=torch.uint8)
        return tuple(dict.fromkeys(bytes(self.gather(mine).tolist()).decode().splitlines()))

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The optimizer's moments and step, by parameter name, however they are sharded."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave, at any number of processes."""
