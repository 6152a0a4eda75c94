"""Counts floating-point operations: of matrix products, convolutions and attention.

A multiply-add is two. What is counted is what runs, what gradient checkpointing computes again
included; all else (norms, activations, the optimizer) is left out, as is usual.
"""

import time
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from zoo.devices import is_accelerator, synchronize

_SIDE, _TRIES = 2048, 3
_FIRST_SIDE, _LARGEST_SIDE, _IN_A_ROW, _LONG = 128, 8192, 8, 5e-3
"""A product of 2048 takes a fast card less than its launch does, which would then be measured, and
a slow one minutes: the side is doubled until one takes so many seconds."""


def counter() -> FlopCounterMode:
    """Counts inside of a `with`; then `get_total_flops()`."""
    aten = torch.ops.aten
    # Torch's own table leaves out products that are added in place, those of float8, and attention
    # on CPUs, which stands for all on the meta device.
    more = {
        aten.addmm_: _added_product,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    float8 = getattr(aten, "_scaled_mm_v2", None)  # since torch 2.10
    if float8 is not None:
        more[float8] = _scaled_product
    return FlopCounterMode(display=False, custom_mapping=more)


def _added_product(into: Any, one: Any, other: Any, **_: Any) -> int:
    return 2 * int(one[0] * one[1] * other[1])


def _scaled_product(one: Any, other: Any, *args: Any, **_: Any) -> int:
    return 2 * int(one[0] * one[1] * other[1])


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **_: Any) -> int:
    counted = sdpa_backward_flop_count(grad, query, key, value)  # type: ignore[no-untyped-call]
    return int(counted)


def reachable(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of large matrix products here: more than any model reaches."""
    if not is_accelerator(device):
        return max(_rates(device, dtype, _SIDE, 1))
    side = _FIRST_SIDE
    while True:
        rates = _rates(device, dtype, side, _IN_A_ROW)
        if side == _LARGEST_SIDE or 2 * side**3 / max(rates) > _LONG:
            return max(rates)
        side *= 2


def _rates(device: torch.device, dtype: torch.dtype, side: int, in_a_row: int) -> list[float]:
    """Of some tries, the first of which is left out."""
    a, b = torch.ones(2, side, side, device=device, dtype=dtype)
    rates = []
    for _ in range(_TRIES + 1):
        started = time.perf_counter()
        for _ in range(in_a_row):
            a @ b
        synchronize(device)
        rates.append(in_a_row * 2 * side**3 / (time.perf_counter() - started))
    return rates[1:]
