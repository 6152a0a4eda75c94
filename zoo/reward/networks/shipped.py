"""Small networks whose weights ship with the package: those of the embedded tasks."""

from collections.abc import Callable
from importlib.resources import as_file, files
from typing import TypeVar

import torch
from torch import nn

from zoo.reward.base import NetworkBytes

Network = TypeVar("Network", bound=nn.Module)


def load_shipped(make: Callable[[], Network], asset: str, device: torch.device) -> Network:
    """The network with the weights of a file in zoo/assets, to score with."""
    from safetensors.torch import load_file

    network = make().eval().requires_grad_(False)
    with as_file(files("zoo") / "assets" / asset) as path:
        network.load_state_dict(load_file(path))
    return network.to(device)


def shipped_bytes(make: Callable[[], nn.Module]) -> NetworkBytes:
    """What the network takes; none is made."""
    with torch.device("meta"):
        return NetworkBytes(sum(parameter.nbytes for parameter in make().parameters()))
