"""What the networks predict of rows: those of a table and of an expert go through together."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.devices import send
from zoo.policy.pipeline.contract import Contract
from zoo.policy.pipeline.networks import Trained
from zoo.policy.pipeline.pictures import Pictures
from zoo.policy.pipeline.step import Steps
from zoo.policy.pipeline.told import Told, groups
from zoo.policy.weights import WeightSets


class Predictions:
    """Of rows of latents at one size, each with a time and a prompt of its own."""

    def __init__(
        self, steps: Steps, pictures: Pictures, contract: Contract, trained: Trained,
        weights: WeightSets,
    ) -> None:  # fmt: skip
        """By a pipeline's steps; `pictures` knows the parts of latents."""
        self._steps, self._pictures, self._contract = steps, pictures, contract
        self._trained, self._weights = trained, weights

    def __call__(self, x: Tensor, times: Tensor, entries: Sequence[int], told: Told) -> Tensor:
        """At a scheduler's times in [0, 1], in the shape of x; `entries` are rows of `told`."""
        parts, order = list[Tensor](), list[int]()
        for group in groups(times, entries, told, self._contract):
            rows = send(torch.tensor(group.rows, device="cpu"), x.device)
            whole = len(group.rows) == len(x)
            inner, at = (x, times) if whole else (x[rows], times[rows])
            states = self._pictures.states(inner)
            encoded = told.rows(group, self._contract)
            parts.append(self._steps(states, at, encoded, told.scale, at=group.at))
            order += group.rows
        made = parts[0] if len(parts) == 1 else torch.cat(parts)
        if order != sorted(order):
            made = made[send(torch.tensor(order, device="cpu").argsort(), made.device)]
        return self._trained.connected(made, self._weights).reshape(x.shape)
