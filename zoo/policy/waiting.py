"""Networks that wait in the host's memory for an engine that cuts them in pieces.

A policy that is made meanwhile has all else on its device, so that its device never holds the whole
network. It asks `network_device` where to put it, and looks at what needs the network's numbers
when it is told `ready`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from zoo.devices import CPU

_WAIT = ContextVar("networks wait", default=False)


@contextmanager
def networks_wait() -> Iterator[None]:
    """Policies that are made inside leave what they train in the host's memory."""
    token = _WAIT.set(True)
    try:
        yield
    finally:
        _WAIT.reset(token)


def network_device(device: torch.device) -> torch.device:
    """Where a policy of this device puts the network that it trains."""
    return CPU if _WAIT.get() and device.type != "meta" else device
