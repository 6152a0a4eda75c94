"""DeepSpeed's view of the pretend accelerator: its accelerator of the CPU, with tensors there.

Synchronous, as that is: DeepSpeed's streams are not rehearsed.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from deepspeed import ops
from deepspeed.accelerator import real_accelerator
from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator
from deepspeed.runtime.zero.partition_parameters import Init
from torch import nn

from tests.rehearsal.device import NAME, is_page_locked

HERE = f"{NAME}:0"


def _of_type(dtype: torch.dtype) -> property:
    return property(lambda self: partial(torch.tensor, dtype=dtype, device=HERE))


class Accelerator(CPU_Accelerator):
    def __init__(self) -> None:
        super().__init__()
        self._name = NAME

    def device_name(self, device_index: int | None = None) -> str:
        return HERE

    def device(self, device_index: int | None = None) -> Any:
        return torch.get_device_module(NAME).device(0)

    def current_device_name(self) -> str:
        return HERE

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def communication_backend_name(self) -> str:
        return "gloo"

    def on_accelerator(self, tensor: torch.Tensor) -> bool:
        return tensor.device.type == NAME

    def pin_memory(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return tensor.pin_memory()

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        return is_page_locked(tensor)

    BFloat16Tensor, ByteTensor = _of_type(torch.bfloat16), _of_type(torch.uint8)
    DoubleTensor, FloatTensor = _of_type(torch.float64), _of_type(torch.float32)
    HalfTensor, IntTensor = _of_type(torch.float16), _of_type(torch.int32)
    LongTensor = _of_type(torch.int64)


def use(monkeypatch: Any) -> None:
    """From here on DeepSpeed finds it."""
    monkeypatch.setattr(real_accelerator, "ds_accelerator", Accelerator())
    # It would compile an operation of the CPU's, for minutes.
    monkeypatch.setitem(ops.__compatible_ops__, "deepspeed_shm_comm", False)
    cut = Init._convert_to_zero_parameters

    def moved(self: Init, parameters: Iterable[nn.Parameter]) -> None:
        # What DeepSpeed does, sets a parameter's data, is not possible from the host to here.
        for parameter in parameters:
            if parameter.device.type != NAME:
                there = nn.Parameter(parameter.detach().to(HERE), parameter.requires_grad)
                torch.utils.swap_tensors(parameter, there)
            cut(self, [parameter])

    monkeypatch.setattr(Init, "_convert_to_zero_parameters", moved)
