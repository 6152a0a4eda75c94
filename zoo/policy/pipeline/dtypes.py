"""The types of a pipeline's numbers: its networks work in theirs, all beside them in float32."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.policy.pipeline.contract import Manner
from zoo.policy.pipeline.trees import Path, in_list, mapped, on_tensors


class Dtypes:
    """What a pipeline is told of them, and what its networks are given."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        """Networks stay of the types that they are of now."""
        # Looked up once: diffusers goes through all of a network's modules for it.
        self.own: dict[str, Any] = {name: network.dtype for name, network in networks.items()}
        self.native = False
        """Whether the pipeline is told the types of its networks."""

    def told(self, name: str) -> torch.dtype:
        """What a pipeline does beside its networks it does in float32, but where it is `native`."""
        own: torch.dtype = self.own[name]
        return own if self.native else torch.float32

    def given(self, name: str, given: Any, manner: Manner) -> Any:
        """A network's arguments in the types that the pipeline itself would give them."""
        narrow = manner.narrow.get(name)
        if not narrow:
            return given
        dtype = self.own[name]

        def one(path: Path, leaf: Any) -> Any:
            is_narrow = in_list(path) in narrow and isinstance(leaf, Tensor)
            return leaf.to(dtype) if is_narrow and leaf.is_floating_point() else leaf

        return mapped(given, one)

    def replied(self, reply: Any) -> Any:
        """What the pipeline's encoders gave, as it works with it."""
        if self.native:
            return reply
        return on_tensors(reply, lambda leaf: leaf.float() if leaf.is_floating_point() else leaf)
