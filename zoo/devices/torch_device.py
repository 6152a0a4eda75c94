"""The accelerator of this machine, by what torch calls one: CUDA, ROCm, XPU, NPU or a plugin's.

ROCm says that it is cuda. What differs between them, torch's module of the device knows.
"""

import gc
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.errors import text_of

CPU = torch.device("cpu")

_LACKING = frozenset({"mps"})
"""Accelerators without float64, in which statistics are summed."""

_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""Where a user tells torch how to keep an accelerator's memory."""

_GROWING = "expandable_segments:True"


def accelerator() -> torch.device | None:
    """The kind that is here, without an index; none where there is none that can do all."""
    if not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    return None if found is None or found.type in _LACKING else found


def default_device() -> torch.device:
    """The accelerator, or the CPU."""
    return accelerator() or CPU


def num_accelerators() -> int:
    """How many of them there are; opens no context."""
    return torch.accelerator.device_count() if accelerator() is not None else 0


def accelerator_names() -> Sequence[str]:
    """What each is called."""
    found = accelerator()
    return (
        [] if found is None else [_of(found).get_device_name(i) for i in range(num_accelerators())]
    )


def is_accelerator(device: torch.device) -> bool:
    """Whether tensors there are not in the host's memory, and computing does not wait."""
    return device.type not in ("cpu", "meta")


def choose(device: torch.device) -> None:
    """Code that names no device finds this one, in this thread."""
    if is_accelerator(device):
        _of(device).set_device(device)


def chosen(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, code that names no device finds this one: a new thread begins on the first."""
    if not is_accelerator(device):
        return nullcontext()
    context: AbstractContextManager[Any] = _of(device).device(device)
    return context


def let_memory_grow(device: torch.device) -> None:
    """Torch keeps an accelerator's memory in segments that grow, unless the user told it how.

    Micro-batches of several shapes take turns: fixed segments of memory would be left unused. What
    is there already stays as it is, so this comes before the first tensor there.
    """
    said = {os.environ[name] for name in _ALLOCATOR if name in os.environ}
    if not is_accelerator(device) or said - {_GROWING}:
        return
    tell = getattr(torch._C, "_accelerator_setAllocatorSettings", None)
    if tell is None:
        # Before 2.10 torch reads its variable with the first tensor there, and not the newer name.
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = _GROWING
    else:
        # For processes that this one starts; here torch may have read its environment by now.
        os.environ["PYTORCH_ALLOC_CONF"] = _GROWING
        tell(_GROWING)


def send(value: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor there; to an accelerator without waiting for what is queued on it.

    The driver has read memory of the host before it returns, unless that is page-locked: such must
    not be written before the copy is made. To the host it waits, for the values must be there.
    """
    there = torch.device(device)
    return value.to(there, dtype or value.dtype, non_blocking=is_accelerator(there))


def host_memory(shape: tuple[int, ...], device: torch.device | str) -> Float[Tensor, "..."]:
    """Memory of the host for numbers on the way to a device, float32, not yet written.

    For an accelerator it is page-locked: any other `send` copies once more before it goes on.
    """
    # On the CPU, also where a caller has torch make tensors elsewhere.
    made = torch.empty(shape, device=CPU)
    return made.pin_memory() if is_accelerator(torch.device(device)) else made


def synchronize(device: torch.device) -> None:
    """Waits for what is queued there."""
    if is_accelerator(device):
        _of(device).synchronize(device)


def timer(device: torch.device) -> Any:
    """An event of an accelerator's stream, between two of which the time is measured."""
    return _of(device).Event(enable_timing=True)


def most_memory() -> int:
    """The most bytes that tensors have taken of this process's accelerator; 0 if it is not used."""
    found = accelerator()
    return 0 if found is None else int(_of(found).max_memory_allocated())


def forget_most_memory() -> None:
    """`most_memory` begins anew, with what is held now."""
    found = accelerator()
    if found is not None:
        _of(found).reset_peak_memory_stats()


def whole_memory() -> int:
    """Bytes of the first accelerator.

    Raises:
        RuntimeError: there is none.
    """
    found = accelerator()
    if found is None:
        raise RuntimeError("there is no accelerator")
    return int(_of(found).get_device_properties(0).total_memory)


def release_memory() -> None:
    """Gives an accelerator's memory back that torch keeps and nothing holds."""
    gc.collect()
    found = accelerator()
    if found is not None:
        _of(found).empty_cache()


@dataclass(frozen=True)
class OutOfMemory:
    """Whose memory did not suffice, in words, and by how much, as far as torch says it."""

    place: str
    more: str | None

    @property
    def wanted(self) -> str:
        """` (2.00 GiB more were wanted)`, or nothing."""
        return f" ({self.more} more were wanted)" if self.more else ""


def out_of_memory(error: BaseException) -> OutOfMemory | None:
    """What an error says of memory that ran out; none of another error."""
    said = text_of(error)
    wanted = re.search(r"tried to allocate ([\d.]+ \w+)", said, re.IGNORECASE)
    more = wanted[1] if wanted else None
    if isinstance(error, torch.OutOfMemoryError):
        return OutOfMemory("the GPU", more)
    # On the CPU torch raises a plain RuntimeError.
    on_cpu = "DefaultCPUAllocator: can't allocate memory" in said
    return OutOfMemory("this machine", more) if on_cpu or isinstance(error, MemoryError) else None


def generators_in_use() -> tuple[str, list[int]]:
    """The kind and numbers of accelerators whose random state this process has; none at first."""
    found = accelerator()
    if found is None or not _of(found).is_initialized():
        return "cuda", []
    return found.type, [int(_of(found).current_device())]


def _of(device: torch.device) -> Any:
    """Torch's module of a kind of device."""
    return torch.get_device_module(device)
