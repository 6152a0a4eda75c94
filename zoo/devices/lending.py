"""Modules that are on an accelerator only while they are used, and are not copied back.

What computes with them changes nothing of them: the host's own memory is theirs again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from zoo.devices.torch_device import CPU


@dataclass(frozen=True)
class _There:
    """A tensor on the device as it was copied there, and the host's."""

    tensor: Tensor
    version: int
    host: Tensor


class Lent:
    """Modules in the host's memory, which go to a device and come back."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        """They are on the host, and are not trained."""
        self._modules = modules
        self._there: dict[int, _There] = {}
        self._is_lent = False

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Inside, they are on the device; where they are lent already nothing is done."""
        if self._is_lent:
            yield
            return
        self._is_lent = True
        self.lend(device)
        try:
            yield
        finally:
            self._is_lent = False
            self.take_back()

    def lend(self, device: torch.device) -> None:
        """They are on the device from now on."""
        for module in self._modules:
            hosts = {name: tensor.detach() for name, tensor in _tensors(module)}
            module.to(device)
            for name, tensor in _tensors(module):
                host = hosts[name]
                if tensor.device != host.device:
                    self._there[id(tensor)] = _There(tensor, tensor._version, host)

    def take_back(self) -> None:
        """They are on the host again; what was changed meanwhile is copied."""
        for module in self._modules:
            # The very method behind `to`, which does as it says for tensors that are shared.
            nn.Module._apply(module, self._host)  # type: ignore[no-untyped-call]
        self._there.clear()

    def _host(self, tensor: Tensor) -> Tensor:
        there = self._there.get(id(tensor))
        if there is None or there.version != tensor._version:
            return tensor.to(CPU)
        return there.host


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())
