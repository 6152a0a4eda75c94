"""DeepSpeed ZeRO: optimizer states, gradients and parameters in pieces on several processes.

Rajbhandari et al. 2020 (arXiv 1910.02054). Stage 1 shards the optimizer, 2 the gradients too, 3 the
parameters too; 0 shards nothing. DeepSpeed gets our own AdamW, unmanaged accumulation and no
precision section: it would cast LoRA and its averages to bfloat16, which cannot hold their steps.

A forward with gradients must go through DeepSpeed's wrapper: under stage 3 another gives wrong
gradients in silence. One without goes to the module, whose hooks gather what it needs.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from zoo.devices import is_accelerator
from zoo.engine import watchdog
from zoo.engine.base import AdamWOptions, Engine, moments
from zoo.engine.side_streams import SideStreams
from zoo.policy.weights import WeightSets
from zoo.rollout import Weights
from zoo.storage.tensor_file import Sharded, local


@dataclass(frozen=True)
class ZeroOptions:
    """What is sharded, what is kept in the host's memory, and raw options that go before ours."""

    stage: int
    offload: Literal["none", "optimizer", "parameters"] = "none"
    deepspeed: Mapping[str, Any] = field(default_factory=dict)


class ZeroEngine(Engine):
    """Trains the live weights under DeepSpeed; needs a process group, of one process too.

    Gradients are reduced once an update, but for those of a whole network at stages 2 and 3, where
    it is at every backward, so that no process ever has all of them.
    """

    def __init__(
        self,
        weights: WeightSets,
        optim: AdamWOptions,
        options: ZeroOptions,
        *,
        device: torch.device,
    ) -> None:
        """Shards the weights; what is read of them from here on goes through `weights`."""
        super().__init__(device)
        deepspeed = _import_deepspeed(device)
        self._stage = options.stage
        # LoRA's gradients are small. Those of a whole network are what these stages are to divide.
        self._reduces_once = options.stage >= 2 and weights.lora is not None
        self._update = ExitStack()
        self._weights = weights
        self._named = weights.parameters(Weights.LIVE)
        self._shapes = {name: tuple(p.shape) for name, p in self._named.items()}
        self._adam = _AdamW(self._named.values(), optim, clips=options.stage == 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._engine: Any = deepspeed.initialize(
                model=weights.module,
                optimizer=self._adam,
                config=configuration(
                    options,
                    optim.max_grad_norm,
                    device,
                    elements=sum(p.numel() for p in weights.network.parameters()),
                    trained=sum(p.numel() for p in self._named.values()),
                    reduces_once=self._reduces_once,
                ),
            )[0]
        side_streams = SideStreams(self.communication, deepspeed.accelerator.get_accelerator())
        side_streams.count(deepspeed.comm.comm.cdb)
        weights.attach(self._forward, self._gather_parameters if self._stage == 3 else None)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        watchdog.pulse()
        wrapped = self._engine if torch.is_grad_enabled() else self._engine.module
        return wrapped(*args, **kwargs)

    @contextmanager
    def _gather_parameters(self, tensors: Sequence[Tensor], written: bool) -> Iterator[None]:
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(tensors), modifier_rank=0 if written else None):
            yield

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a scalar loss."""
        if self._reduces_once and not self._engine.inside_no_sync_ctxt:
            self._update.enter_context(self._engine.coalesce_grad_reduction())
        self._engine.backward(loss, scale_wrt_gas=False)

    def update(self, lr: float) -> float:
        """One AdamW step; see `Engine.update`."""
        for group in self._adam.param_groups:
            group["lr"] = lr
        with watchdog.waiting():
            self._update.close()
            self._engine.step()
            self._weights.changed(Weights.LIVE)
            # DeepSpeed has none at stage 0, and infinity where it skipped the step.
            norm = self._adam.norm if self._stage == 0 else self._engine.get_global_grad_norm()
            return float(norm)

    def clip(self, max_grad_norm: float) -> None:
        """Bounds the gradient's norm; see `Engine.clip`."""
        if self._stage == 0:
            self._adam.max_grad_norm = max_grad_norm
        else:
            self._engine.optimizer.clip_grad = max_grad_norm

    def state(self) -> dict[str, Sharded]:
        """AdamW's moments and step by parameter, gathered as each is read; see `Engine.state`."""
        steps = [kept["step"] for kept in self._adam.state.values() if "step" in kept]
        found: dict[str, Sharded] = {}
        for name, p in self._named.items() if steps else ():
            for key in _MOMENTS:
                found[f"{name}/{key}"] = Sharded(
                    self._shapes[name],
                    torch.float32,
                    lambda p=p, key=key: self._moment(p, key),  # type: ignore[misc]
                )
            found[f"{name}/step"] = local(steps[0])
        return found

    def _moment(self, parameter: nn.Parameter, key: str) -> Tensor:
        from deepspeed.utils import safe_get_full_optimizer_state

        if self._stage == 0:
            value: Tensor = self._adam.state[parameter][key]
        else:
            value = safe_get_full_optimizer_state(parameter, key)
        return value

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave; see `Engine.load`."""
        found = moments(state, self._named)
        if self._stage > 0:
            # The optimizer works on copies of its own of the live weights.
            self._engine.optimizer.refresh_fp32_params()
        self._adam.state.clear()
        if not found:
            return
        self._materialise(state[f"{next(iter(found))}/step"])
        for name, p in self._named.items():
            for key in _MOMENTS:
                self._set_moment(p, key, state[f"{name}/{key}"].to(self.device))

    def _materialise(self, step: Tensor) -> None:
        """Makes the optimizer's state, which it would make at its first step."""
        zero = self._engine.optimizer
        if self._stage == 0:
            flat: list[Tensor] = list(self._named.values())
        elif self._stage == 3:
            flat = zero.fp32_partitioned_groups_flat
        else:
            flat = zero.single_partition_of_fp32_groups
        for part in flat:
            self._adam.state[part] = {
                "step": step.clone(), **{key: torch.zeros_like(part) for key in _MOMENTS}
            }  # fmt: skip
        if self._stage in (1, 2):
            zero._hp_optimizer_states_linked = False  # Else only the first load would be linked.
            zero._lazy_init_hp_params_optimizer_state()

    def _set_moment(self, parameter: Any, key: str, value: Tensor) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if self._stage == 0:
            self._adam.state[parameter][key].copy_(value)
        elif self._stage == 3:
            # DeepSpeed's setter of a whole value fails where the last piece is filled up.
            piece = parameter.ds_tensor.ds_numel
            padded = value.new_zeros(piece * self.size)
            padded[: value.numel()] = value.flatten()
            mine = padded[self.rank * piece : (self.rank + 1) * piece]
            safe_set_local_optimizer_state(parameter, mine, key)
        else:
            safe_set_full_optimizer_state(parameter, value, key)


_MOMENTS = ("exp_avg", "exp_avg_sq")


class _AdamW(torch.optim.AdamW):
    """Torch's; at stage 0 it also clips and measures, which DeepSpeed leaves undone there."""

    def __init__(self, parameters: Any, optim: AdamWOptions, *, clips: bool) -> None:
        super().__init__(
            list(parameters), betas=optim.betas, eps=optim.eps, weight_decay=optim.weight_decay
        )
        self.norm = 0.0
        self._clips = clips
        self.max_grad_norm = optim.max_grad_norm

    def step(self, closure: Any = None) -> Any:
        if self._clips:
            parameters = [p for group in self.param_groups for p in group["params"]]
            for p in parameters:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
            total = get_total_norm([p.grad for p in parameters])
            self.norm = float(total)
            if not self.norm < float("inf"):
                return None
            clip_grads_with_norm_(parameters, self.max_grad_norm, total)
        return super().step(closure)


def require_valid(options: ZeroOptions, device: torch.device) -> None:
    """Has DeepSpeed read the raw options.

    Raises:
        ValueError: it does not know one, or not with this value; says which.
    """
    _import_deepspeed(device)
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
    `reduces_once` gradients are held whole until an update: see `ZeroEngine`.
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


def _import_deepspeed(device: torch.device) -> Any:
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
