"""A stream of an accelerator beside the one that computes: what is queued on both may overlap."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from zoo.devices.torch_device import is_accelerator


class Turn:
    """A place on the device's side stream for work on a tensor that the computing stream makes.

    There is one such stream of each accelerator, and none of the CPU, which queues nothing. Results
    that are read on the host are waited for by being read; nothing else waits for them.
    """

    def __init__(self, tensor: Tensor) -> None:
        """It comes after all that this thread's stream of the tensor's device has queued."""
        self._tensor = tensor
        self._stream = None
        if is_accelerator(tensor.device):
            self._module = torch.get_device_module(tensor.device)
            self._stream = _side_stream(tensor.device)
            self._ready = self._module.Event()
            self._ready.record(self._module.current_stream(tensor.device))

    @contextmanager
    def take(self) -> Iterator[None]:
        """Inside, this thread queues on the side stream; it can be taken again."""
        if self._stream is None:
            yield
            return
        with self._module.stream(self._stream):
            self._stream.wait_event(self._ready)
            # Else its memory could be given away while it is still read here.
            self._tensor.record_stream(self._stream)
            yield


@cache
def _side_stream(device: torch.device) -> Any:
    return torch.get_device_module(device).Stream(device)
