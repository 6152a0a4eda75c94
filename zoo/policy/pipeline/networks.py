"""Which of a pipeline's networks are trained, as one network, and how each is called."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.policy.pipeline.stand_ins import Experts
from zoo.policy.pretrained import Dtype
from zoo.policy.weights import CopiesOn, Lora, WeightSets


@dataclass(frozen=True)
class NetworkOptions:
    """How networks are trained: whole where `lora` is None; `trains` names them, or none."""

    dtype: Dtype
    lora: Lora | None
    copies_on: CopiesOn
    trains: tuple[str, ...] = ()


class Trained:
    """Those that are trained are called through the sets of weights, others as they are."""

    def __init__(
        self, networks: Mapping[str, nn.Module], wanted: Sequence[str], told: Container[str]
    ) -> None:
        """`wanted` are names; none of them: all that are `told` of prompts are trained.

        Raises:
            ValueError: the pipeline has no network of a name.
        """
        for name in wanted:
            if name not in networks:
                raise ValueError(
                    f"policy.trains names '{name}', and the pipeline's networks are "
                    f"{', '.join(networks)}; write one of these, or leave it out"
                )
        self._networks = networks
        self.names = tuple(name for name in networks if name in (wanted or told))
        self.network: nn.Module = networks[self.names[0]]
        """The only one, or all of them together."""
        if len(self.names) > 1:
            self.network = Experts({name: networks[name] for name in self.names})

    def place_others(self, device: torch.device) -> None:
        """What is not trained is on the device, wherever the others are."""
        for name in self._networks.keys() - {*self.names}:
            self._networks[name].to(device)

    def forward(self, weights: WeightSets, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Of the network of that name, under the active weights."""
        if name not in self.names:
            return self._networks[name](*args, **kwargs)
        if len(self.names) == 1:
            return weights(*args, **kwargs)
        return weights(name, *args, **kwargs)

    def connected(self, made: Tensor, weights: WeightSets) -> Tensor:
        """Rows that met only a network that is not trained have gradients, too: of zero."""
        if len(self.names) == len(self._networks) or made.requires_grad:
            return made
        if not torch.is_grad_enabled():
            return made
        return made + 0 * sum(p.flatten()[0] for p in weights.parameters().values())
