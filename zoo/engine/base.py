"""The Engine interface: backward, update, and the little that processes say to each other."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.engine.communication import Communication
from zoo.engine.loss_scale import LossScale
from zoo.storage.tensor_file import Sharded


@dataclass(frozen=True)
class AdamWOptions:
    """AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) and the bound on the gradient's norm."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-4
    max_grad_norm: float = 1.0


class Engine(ABC):
    """Owns the optimizer. `backward` any number of times, then one `update`.

    Losses are averaged over processes, so a process passes `size` times its share of the global
    mean.
    """

    def __init__(self, device: torch.device, *, scales: bool = False) -> None:
        """Takes its rank and size from the process group; where there is none, it is alone.

        One that `scales` its losses is for a network in float16.
        """
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.size = dist.get_world_size() if dist.is_initialized() else 1
        self.device = device
        self.communication = Communication(device)
        self.loss_scale = LossScale(moves=scales)

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
    def clip(self, max_grad_norm: float) -> None:
        """Bounds the gradient's norm by this from the next update on."""

    @abstractmethod
    def state(self) -> dict[str, Sharded]:
        """AdamW's moments and step, `<parameter>/<exp_avg, exp_avg_sq or step>`.

        The same names and values at any number of processes; empty before the first update.
        """

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave, once the live weights are those of the same checkpoint.

        Raises:
            ValueError: it is of other weights.
        """

    def gather(self, local: Tensor) -> Tensor:
        """The rows of every process, in rank order, on the CPU; their numbers may differ."""
        local = local.detach().cpu().contiguous()
        if self.size == 1:
            return local
        with self.communication.on_host():
            counts = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
            dist.all_gather(counts, torch.tensor([len(local)]))
            most = max(int(count) for count in counts)
            padded = local.new_zeros(most, *local.shape[1:])
            padded[: len(local)] = local
            parts = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(parts, padded)
        return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])

    def barrier(self) -> None:
        """Waits until every process is here."""
        self.gather(torch.zeros(1))

    def gather_lines(self, local: Iterable[str]) -> tuple[str, ...]:
        """The lines of text of every process, in rank order, each once."""
        text = "\n".join(" ".join(line.split("\n")) for line in local)
        mine = torch.tensor(
            list(f"{text}\n".encode(errors="surrogatepass")) if text else [], dtype=torch.uint8
        )
        whole = bytes(self.gather(mine).tolist()).decode(errors="surrogatepass")
        return tuple(dict.fromkeys(whole.splitlines()))


def moments(state: Mapping[str, Tensor], trained: Mapping[str, object]) -> dict[str, list[str]]:
    """What a state holds of each parameter, none where it is of before the first update.

    Raises:
        ValueError: the state is of other weights than these.
    """
    found: dict[str, list[str]] = {}
    for key in state:
        name, _, moment = key.rpartition("/")
        found.setdefault(name, []).append(moment)
    wrong = sorted(found.keys() ^ trained.keys()) if found else []
    if wrong:
        raise ValueError(
            f"the optimizer state is of other weights: '{wrong[0]}' is not both trained and saved"
        )
    return found
