"""LoRA's sets of weights: adapters over one frozen network, of which one is active, or none.

PEFT's own `set_adapter` toggles requires_grad, which would break an optimizer sharding engine;
switching here touches only which adapter is active.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from zoo.policy.lora import Lora, casts_of, inject
from zoo.policy.lora_casts import Casts
from zoo.rollout import Weights

_NAMES = {
    Weights.LIVE: "default",
    Weights.OLD: "old",
    Weights.REFERENCE: "reference",
    Weights.EMA: "ema",
    Weights.SAMPLING: "sampling",
    Weights.BASE: "base",
}
"""What PEFT calls each set's adapter."""


class Adapters:
    """An adapter for each set; before `add`, and in full fine-tuning, there are none to switch."""

    def __init__(self) -> None:
        self._layers: list[Any] = []
        self._casts = Casts()

    def add(
        self,
        network: nn.Module,
        lora: Lora,
        targets: Sequence[str],
        sets: Sequence[Weights],
        *,
        seed: int,
    ) -> dict[Weights, dict[str, nn.Parameter]]:
        """Freezes the network and gives its layers an adapter for every set: their parameters.

        Those of live are trained, in float32.

        Raises:
            ValueError: no layer of the network is a target.
        """
        layers = inject(network, lora, targets, [_NAMES[which] for which in sets], seed=seed)
        self._layers = list(layers.values())
        self._casts = casts_of(self._layers)
        made: dict[Weights, dict[str, nn.Parameter]] = {which: {} for which in sets}
        for which, parameters in made.items():
            for name, layer in layers.items():
                for part in ("lora_A", "lora_B"):
                    # float32 over any base: bfloat16 cannot hold an average's small steps.
                    linear = getattr(layer, part)[_NAMES[which]].float()
                    linear.requires_grad_(which is Weights.LIVE)
                    parameters[f"{name}.{part}.weight"] = linear.weight
        return made

    def choose(self, which: Weights | None) -> None:
        """Forwards are of this set's adapter; None: of the network without any."""
        for layer in self._layers:
            layer._disable_adapters = which is None
            if which is not None:
                layer._active_adapter = [_NAMES[which]]
        self._casts.choose(None if which is None else _NAMES[which])

    def refresh(self) -> None:
        """The set that was chosen may have other values than it had then."""
        self._casts.refresh()

    def forget(self, which: Weights) -> None:
        """The set's values are others now."""
        self._casts.forget(_NAMES[which])

    def attach(self, opened: Callable[[Sequence[Tensor]], AbstractContextManager[object]]) -> None:
        """An engine keeps parameters in pieces, whole inside `opened`."""
        self._casts.attach(opened)
