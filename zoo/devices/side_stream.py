"""A stream of an accelerator beside the one that computes: what is queued on both may overlap."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from zoo.devices.torch_device import is_accelerator


class Turn:
    """A place on a side stream for work on a tensor that the computing stream makes."""

    def __init__(self, tensor: Tensor, stream: Any = None) -> None:
        """It comes after all that is queued now; without a stream it is everyone's own."""
        self._tensor = tensor
        self._stream = stream
        if stream is not None:
            self._module = torch.get_device_module(tensor.device)
            self._ready = self._module.Event()
            self._ready.record()

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


class SideStream:
    """One stream of each accelerator that is met; none of the CPU, which queues nothing.

    Results that are read on the host are waited for by being read; nothing else waits for them.
    """

    def __init__(self) -> None:
        self._streams: dict[torch.device, Any] = {}

    def turn(self, tensor: Tensor) -> Turn:
        """A turn for what is to be made of a tensor, in the thread that queued what makes it."""
        device = tensor.device
        if not is_accelerator(device):
            return Turn(tensor)
        if device not in self._streams:
            self._streams[device] = torch.get_device_module(device).Stream(device)
        return Turn(tensor, self._streams[device])
