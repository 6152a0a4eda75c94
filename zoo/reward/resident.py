"""Where a reward's network lives: a device of its own, or none while the run trains."""

import torch
from torch import nn


class Resident:
    """A network to be used only, on its device; with `offload` between `wake` and `rest` alone."""

    def __init__(
        self, network: nn.Module, device: torch.device, dtype: torch.dtype, *, offload: bool
    ) -> None:
        """Takes over a network on the CPU."""
        self._network = network.eval().requires_grad_(False).to(dtype)
        self._offload = offload
        self.device = device
        if not offload:
            self._network.to(device)

    def wake(self) -> nn.Module:
        """The network, on its device."""
        if self._offload:
            self._network.to(self.device)
        return self._network

    def rest(self) -> None:
        """Leaves the device for the CPU's memory, with `offload`."""
        if self._offload:
            self._network.to("cpu")


def own_device(wanted: str | None, run: torch.device) -> torch.device:
    """The device that the option `model_device` names; without it, the run's.

    Raises:
        ValueError: there is no such device, or this torch cannot use it.
    """
    if wanted is None:
        return run
    try:
        device = torch.device(wanted)
        # Meta is a device, and computes nothing.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = torch.cuda.device_count()
        gpus = "no CUDA device" if found == 0 else f"cuda:0 to cuda:{found - 1}"
        raise ValueError(
            f"the model_device {wanted!r} cannot be used here, where there is cpu and {gpus}: "
            f"{(str(error).splitlines() or [type(error).__name__])[0]}; "
            "leave it out for the device of the run"
        ) from error
    return device
