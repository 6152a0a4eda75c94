"""Questions to a pipeline that is being learned: what reaches its networks in a step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.made_up import noise
from zoo.policy.pipeline.questions import Encoded, Question
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.trees import leaves, on_tensors, tensors

HIGH, LOW = (0.97, 0.95, 0.93), (0.21, 0.13, 0.07)
"""Times of three probes: two find a line, the third must lie on it."""
SHORT, OTHER, LONG = "a", "b", "a tall green tree by the river"
GUIDED = 3.0

Call = tuple[str, Any, Any]
"""A network's name, what it was given, and what it gave."""


class Probes:
    """What text encoders and networks gave is kept for the same question again.

    No network computes more than the shape of its outputs: what counts is what reaches it.
    """

    def __init__(self, seam: Seam) -> None:
        """`texts` are set to two of different lengths once the pipeline is known to take them."""
        self.seam = seam
        self.texts: Sequence[str] = (SHORT,)
        self._encoded: dict[Any, Encoded] = {}
        self._outputs: dict[Any, Any] = {}

    def change_manner(self, **changes: Any) -> None:
        """From now on the pipeline is asked in another manner."""
        self.seam.manner = replace(self.seam.manner, **changes)

    def step(
        self,
        texts: Sequence[str],
        at: float,
        x: Sequence[Tensor] = (),
        guidance: float | None = None,
    ) -> tuple[list[Call], list[tuple[Tensor, Tensor]]]:
        """The calls of networks in a step, and what was stepped."""
        calls: list[Call] = []

        def through(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            given = {"args": args, "kwargs": kwargs}
            calls.append((name, given, self._output(name, given)))
            return calls[-1][2]

        question = Question(
            "step", texts, at=at, guidance=guidance, latents=x, through=through,
            encoded=self.encode(texts, guidance),
        )  # fmt: skip
        stepped: list[tuple[Tensor, Tensor]] = self.seam.ask(question)
        return calls, stepped

    def encode(self, texts: Sequence[str], guidance: float | None) -> Encoded:
        """The texts as the pipeline encodes them."""
        key = (*texts, guidance, self.seam.manner.batching)
        if key not in self._encoded:
            self._encoded[key] = self.seam.encode(texts, guidance)
        return self._encoded[key]

    def constant(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, seed: int = 0
    ) -> Any:
        """The same numbers at every call of a network for arguments of the same shapes."""
        made = self._output(name, {"args": args, "kwargs": kwargs})
        return on_tensors(made, lambda leaf: noise(leaf.shape, seed).to(leaf))

    def _output(self, name: str, given: Any) -> Any:
        """What the network gives for arguments of these shapes, the numbers of no matter."""
        shapes = [(path, getattr(leaf, "shape", None)) for path, leaf in leaves(given)]
        key = (name, tuple(shapes))
        if key not in self._outputs:
            network: Any = self.seam.networks[name]
            where, dtype = _device_of(network), network.dtype

            def moved(leaf: Tensor) -> Tensor:
                return leaf.to(where, dtype) if leaf.is_floating_point() else leaf.to(where)

            inputs = on_tensors(given, moved)
            made = network(*inputs["args"], **inputs["kwargs"])
            self._outputs[key] = on_tensors(made, lambda leaf: self._here(leaf))
        return self._outputs[key]

    def _here(self, leaf: Tensor) -> Tensor:
        return noise(leaf.shape) if leaf.is_meta else leaf.float().to(self.seam.device)

    def first_network(self, at: float) -> str:
        """The network that a step at that time comes to first."""
        name: str = self.seam.ask(
            Question("network", self.texts, at=at, encoded=self.encode(self.texts, None))
        )
        return name


def num_outputs(calls: Sequence[Call]) -> int:
    """How many numbers networks gave."""
    return sum(leaf.numel() for _, _, made in calls for leaf in tensors(made))


def _device_of(network: Any) -> torch.device:
    device: torch.device = next(network.parameters()).device
    return device
