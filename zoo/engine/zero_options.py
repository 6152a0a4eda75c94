"""What DeepSpeed is told, and how it is imported."""

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from zoo.devices import is_accelerator


@dataclass(frozen=True)
class ZeroOptions:
    """What is sharded, what is kept in the host's memory, and raw options that go before ours."""

    stage: int
    offload: Literal["none", "optimizer", "parameters"] = "none"
    deepspeed: Mapping[str, Any] = field(default_factory=dict)


def require_valid(options: ZeroOptions, device: torch.device) -> None:
    """Has DeepSpeed read the raw options.

    Raises:
        ValueError: it does not know one, or not with this value; says which.
    """
    import_deepspeed(device)
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from pydantic import ValidationError

    zero = configuration(options, 1.0, device, elements=1, trained=1)["zero_optimization"]
    try:
        DeepSpeedZeroConfig(**zero)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("zero_optimization", *map(str, first["loc"])))
        raise ValueError(f"DeepSpeed refuses '{where}': {first['msg'].lower()}") from error


def configuration(
    options: ZeroOptions,
    max_grad_norm: float,
    device: torch.device,
    *,
    elements: int,
    trained: int,
    reduces_once: bool = False,
) -> dict[str, Any]:
    """DeepSpeed's configuration: ours, with the raw options merged over it.

    `elements` are the network's parameters, `trained` those of them that are trained. With
    `reduces_once` gradients are held whole until an update: see `zoo.engine.zero`.
    """
    # DeepSpeed's own sizes are for models of many billions: a bucket for gradients of 2 GB, and a
    # network of less than 1e9 parameters whole at stage 3. A tenth of it takes half of the memory
    # and is no slower (92M parameters with LoRA on two CPU processes: 0.62 against 1.27 GB).
    zero: dict[str, Any] = {
        "stage": options.stage,
        "reduce_bucket_size": min(500_000_000, trained),
        "stage3_prefetch_bucket_size": elements // 20,
        "stage3_max_live_parameters": elements // 10,
        "stage3_max_reuse_distance": elements // 10,
        # It would replace torch's linear layers everywhere in the process, with another rounding.
        "memory_efficient_linear": False,
    }
    host = {"device": "cpu", "pin_memory": is_accelerator(device)}
    if options.offload != "none":
        zero["offload_optimizer"] = host
    if options.offload == "parameters":
        zero["offload_param"] = host
    ours = {
        "train_micro_batch_size_per_gpu": 1,  # It only counts with it.
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": reduces_once,
        "steps_per_print": None,
        # It would wait for the device before every forward.
        "timers": {"throughput": {"enabled": False}},
        "gradient_clipping": max_grad_norm if options.stage > 0 else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    return _merge(ours, options.deepspeed)


def _merge(ours: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = deepcopy(dict(ours))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else deepcopy(value)
    return merged


def import_deepspeed(device: torch.device) -> Any:
    """The package, on that device's terms: what it prints goes to standard error."""
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
    if device.type == "cpu":
        # It would compile an operation for two minutes, or fail without a compiler. To ask is to
        # probe every operation: for a GPU with the compiler of CUDA, and nothing there needs it.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    warnings.filterwarnings("ignore", message=".*is deprecated. Please use `torch.distributed")
    for handler in logging.getLogger("DeepSpeed").handlers:
        if type(handler) is logging.StreamHandler:  # DeepSpeed's, not what others listen with
            handler.stream = _Stderr()  # Standard output is the run's own.
    return deepspeed


class _Stderr:
    """What is stderr when something is written: another may have been closed since."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
