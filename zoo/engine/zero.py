"""DeepSpeed ZeRO: optimizer states, gradients and parameters in pieces on several processes.

Rajbhandari et al. 2020 (arXiv 1910.02054). Stage 1 shards the optimizer, 2 the gradients too, 3 the
parameters too; 0 shards nothing. DeepSpeed gets our own AdamW, unmanaged accumulation and no
precision section: it would cast LoRA and its averages to bfloat16, which cannot hold their steps.

A forward with gradients must go through DeepSpeed's wrapper: under stage 3 another gives wrong
gradients in silence. One without goes to the module, whose hooks gather what it needs.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from zoo.engine import watchdog
from zoo.engine.base import AdamWOptions, Engine, moments
from zoo.engine.side_streams import SideStreams
from zoo.engine.zero_options import ZeroOptions, configuration, import_deepspeed
from zoo.policy.lora_linear import HalfLinear
from zoo.policy.weights import WeightSets
from zoo.rollout import Weights
from zoo.storage.tensor_file import Sharded, local


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
        deepspeed = import_deepspeed(device)
        self._stage = options.stage
        # LoRA's gradients are small. Those of a whole network are what these stages are to divide.
        self._reduces_once = options.stage >= 2 and weights.lora is not None
        self._update = ExitStack()
        self._weights = weights
        self._named = weights.parameters(Weights.LIVE)
        self._shapes = {name: tuple(p.shape) for name, p in self._named.items()}
        self._adam = _AdamW(self._named.values(), optim, clips=options.stage == 0)
        config = configuration(
            options,
            optim.max_grad_norm,
            device,
            elements=sum(p.numel() for p in weights.network.parameters()),
            trained=sum(p.numel() for p in self._named.values()),
            reduces_once=self._reduces_once,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._stage == 3:
                _cut(deepspeed, weights.module, config, device)
                _register_read(deepspeed, weights.module)
            self._engine: Any = deepspeed.initialize(
                model=weights.module, optimizer=self._adam, config=config
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

        # After a forward without a backward, what the latter would have needed is still fetched.
        self._engine.optimizer.parameter_offload.get_param_coordinator().reset_step()
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


def _cut(
    deepspeed: Any, module: nn.Module, config: Mapping[str, Any], device: torch.device
) -> None:
    """Leaves every process its piece of each parameter, on the device.

    One parameter after the other goes there whole: of a network that waits in the host's memory
    the device never holds more.
    """
    deepspeed.zero.Init(module=module, config_dict_or_path=config)
    module.to(device)  # What is no parameter; of these nothing is left to move.


def _register_read(deepspeed: Any, module: nn.Module) -> None:
    """Tells DeepSpeed which parameters LoRA layers read of others, before it traces a forward.

    It finds those itself that are not there when they are read; a base that still is, as one has
    just been called for the reference, it would let go of before the backward.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, HalfLinear)]
    for layer in layers:
        masters = (p for adapter in layer.lora_A for p in layer.masters(adapter))
        for read in (*masters, *layer.base_layer.parameters(recurse=False)):
            deepspeed.zero.register_external_parameter(layer, read)
