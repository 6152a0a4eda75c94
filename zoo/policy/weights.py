"""One network and its sets of weights: live, old, reference, EMA; LoRA adapters or full copies.

LoRA: Hu et al. 2021 (arXiv 2106.09685). With LoRA every set but the untouched reference is an
adapter of its own over one frozen base, and the reference is the base with adapters off. In full
fine-tuning every set is a network of its own.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from zoo.policy.adapters import Adapters
from zoo.policy.half_network import compute_in
from zoo.policy.lora import Lora
from zoo.policy.weight_copies import CopiesOn, Networks
from zoo.rollout import Weights
from zoo.storage.tensor_file import Sharded

__all__ = ["CopiesOn", "Lora", "Opened", "WeightSets"]

Opened = Callable[[Sequence[Tensor], bool], AbstractContextManager[object]]
"""Inside, parameters are whole; where the second argument says so, what is written in is kept."""

_DIFFUSERS = "diffusers.models.normalization"
"""Where it is not loaded, no network has its layers."""

_PORTION = 2**26
"""Elements that are made whole at a time: 256 MB of float32."""


class WeightSets:
    """Owns the network; `using` chooses the set of a forward, `blend` moves one towards live.

    A policy makes it with its bare network; the run then calls `allocate` with the sets that its
    objective moves. Until then there is only live.
    """

    def __init__(
        self,
        network: nn.Module,
        lora: Lora | None,
        *,
        default_targets: tuple[str, ...] = (),
        copies_on: CopiesOn = "device",
        casts: torch.dtype | None = None,
    ) -> None:
        """`lora` None trains the whole network; `default_targets` are the family's LoRA targets.

        `casts` is the type that a network in float32 computes in; none: its own. With `copies_on`
        cpu the other sets of full fine-tuning are in the host's memory, and on the device while
        they are used.

        Raises:
            ValueError: LoRA's copies would be on the host.
        """
        if lora is not None and copies_on != "device":
            raise ValueError(
                f"copies_on is {copies_on}, which is for full fine-tuning, and LoRA's copies are "
                "small; write copies_on: device, or lora: null"
            )
        self.network = network
        """The network whose live weights are trained."""
        self.lora = lora
        self.casts = casts
        """What the network's numbers are cast to, where that is not their own type."""
        self.computing = casts or _narrowest(network)
        """The type of its products."""
        if _DIFFUSERS in sys.modules:
            from zoo.policy.rms_norm import fuse_norms

            fuse_norms(network)
        if casts is not None:
            compute_in(network, casts)
        self.module = Networks(network, copies_on)
        """All that an engine may shard: the network, and its copies in full fine-tuning."""
        self.copies_on = copies_on
        """Where the other sets of full fine-tuning are while they are not used."""
        self.num_rows = 0
        """Rows that went through the network so far: its first tensor's leading dimension."""
        self._targets = default_targets
        self._forward: Callable[..., Any] = self.module
        self._opened: Opened = lambda tensors, refresh: nullcontext()
        self._active = Weights.LIVE
        self._sets: dict[Weights, dict[str, nn.Parameter]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._adapters = Adapters()

    def allocate(self, copies: Iterable[Weights], *, seed: int, reference: bool = True) -> None:
        """Makes the live set trainable and the `copies` equal to it.

        Called once, before the engine is made. Full fine-tuning needs a copy for a `reference` that
        is used, whether it moves or not.

        Raises:
            RuntimeError: it was called before.
            ValueError: no layer of the network is a LoRA target.
        """
        if self._sets:
            raise RuntimeError("the weight sets of this policy are already allocated")
        copies = {*copies} - {Weights.LIVE}
        if self.lora is None:
            copies |= {Weights.REFERENCE} if reference else set()
            self._sets = self.module.add(_in_order({Weights.LIVE, *copies}))
        else:
            targets, sets = self.lora.targets or self._targets, _in_order({Weights.LIVE, *copies})
            self._sets = self._adapters.add(self.network, self.lora, targets, sets, seed=seed)
        self._shapes = {name: tuple(p.shape) for name, p in self._sets[Weights.LIVE].items()}
        if self.lora is not None:
            self._activate(Weights.LIVE)
            for which in copies:
                self.blend(which, decay=0.0)

    @property
    def trained(self) -> str:
        """What of the network is trained, in words: the layers that LoRA's targets matched.

        Raises:
            ValueError: nothing is allocated yet.
        """
        self.parameters()
        count = f"{sum(map(math.prod, self._shapes.values())):,} parameters"
        if self.lora is None:
            return f"the whole network, {count}"
        layers = {f".{name.rpartition('.lora_')[0]}" for name in self._shapes}
        targets = self.lora.targets or self._targets
        idle = [t for t in targets if not any(layer.endswith(f".{t}") for layer in layers)]
        none = f"; no layer is named like {', '.join(idle)}" if idle else ""
        number = "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
        return f"LoRA of rank {self.lora.rank} on {number}, {count}{none}"

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The network, and in full fine-tuning those of the other sets."""
        return tuple(self.module.sets.values())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Forward of the active set."""
        self.num_rows += next(len(a) for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
        self._adapters.refresh()
        return self._forward(*args, **kwargs)

    @contextmanager
    def using(self, which: Weights) -> Iterator[None]:
        """Forwards inside use this set. Only live has gradients.

        Raises:
            ValueError: the set is not allocated.
        """
        before = self._active
        self._activate(which)
        try:
            with self.module.lend(self.module.active):
                yield
        finally:
            self._activate(before)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Forwards inside are the frozen base's, without any LoRA; no-grad only.

        Raises:
            ValueError: the network is fully fine-tuned, so it has no base left.
        """
        if self.lora is None:
            raise ValueError("a fully fine-tuned network has no frozen base")
        self._adapters.choose(None)
        try:
            yield
        finally:
            self._activate(self._active)

    def has(self, which: Weights) -> bool:
        """Whether `using` can switch to this set."""
        return which in self._sets or (which is Weights.REFERENCE and self.lora is not None)

    def blend(self, into: Weights, decay: float) -> None:
        """Sets `into` to decay * into + (1 - decay) * live, by parameter; decay 0 copies.

        Raises:
            ValueError: `into` is live, or not allocated.
        """
        if into is Weights.LIVE:
            raise ValueError("live is blended into other sets, not into itself")
        target, live = self.parameters(into), self.parameters()
        with torch.no_grad():
            for names in self._portions():
                pairs = [(target[name], live[name]) for name in names]
                towards_live = [p for _, p in pairs]
                with self._opened(towards_live, False), self._opened([p for p, _ in pairs], True):
                    for parameter, towards in pairs:
                        parameter.lerp_(towards.to(parameter.device), 1.0 - decay)
        self.changed(into)

    def parameters(self, which: Weights = Weights.LIVE) -> dict[str, nn.Parameter]:
        """The parameters of one set by name, the same in every set; live's are what is trained.

        Under an engine that shards them they may be empty: see `tensors` and `assign`.

        Raises:
            ValueError: the set is not allocated; with LoRA an unmoved reference has no parameters.
        """
        if which not in self._sets:
            raise ValueError(self._missing(which))
        return self._sets[which]

    def tensors(self, which: Weights) -> dict[str, Sharded]:
        """The values of one set by name, each made whole when it is asked for."""

        def whole(parameter: nn.Parameter) -> Tensor:
            with self._opened([parameter], False):
                return parameter.detach().clone()

        return {
            name: Sharded(self._shapes[name], p.dtype, lambda p=p: whole(p))  # type: ignore[misc]
            for name, p in self.parameters(which).items()
        }

    def assign(self, which: Weights, values: Mapping[str, Tensor]) -> None:
        """Sets every parameter of one set; all processes must give the same values.

        Raises:
            KeyError: a value is missing.
        """
        with torch.no_grad():
            for name, parameter in self.parameters(which).items():
                with self._opened([parameter], True):
                    parameter.copy_(values[name])
        self.changed(which)

    def changed(self, which: Weights) -> None:
        """A set has other values now; called by an engine after an update."""
        self.module.refresh(which)
        self._adapters.forget(which)

    def attach(self, forward: Callable[..., Any], opened: Opened | None = None) -> None:
        """Sends forwards through an engine's wrapper of `module`; called by the engine.

        `opened` makes parameters whole where the engine keeps them in pieces.
        """
        self._forward = forward
        if opened is not None:
            self._opened = opened
            self._adapters.attach(lambda tensors: opened(tensors, False))

    def _portions(self) -> Iterator[list[str]]:
        """The names of a set, a few at a time, so that little of it has to be whole at once."""
        names, size = [], 0
        for name, shape in self._shapes.items():
            names.append(name)
            size += math.prod(shape)
            if size >= _PORTION:
                yield names
                names, size = [], 0
        if names:
            yield names

    def _activate(self, which: Weights) -> None:
        bare = which not in self._sets
        base_is_wanted = which is Weights.REFERENCE and self.lora is not None
        if bare and not base_is_wanted and (self._sets or which is not Weights.LIVE):
            raise ValueError(self._missing(which))
        self._active = which
        self.module.active = which if self.lora is None else Weights.LIVE
        self._adapters.choose(None if bare else which)

    def _missing(self, which: Weights) -> str:
        if not self._sets:
            return f"the weights '{which.value}' do not exist yet; call allocate first"
        have = ", ".join(have.value for have in self._sets)
        return (
            f"the weights '{which.value}' are not allocated (there are: {have}); "
            f"name Weights.{which.name} in the objective's "
            f"{'`uses`' if which is Weights.REFERENCE else '`moves`'}"
        )


def _narrowest(network: nn.Module) -> torch.dtype:
    """Of the types of a network's numbers: some are float32 beside products in half precision."""
    types = {p.dtype for p in network.parameters() if p.is_floating_point()}
    return min(types, key=lambda dtype: dtype.itemsize, default=torch.float32)


def _in_order(sets: set[Weights]) -> list[Weights]:
    """The same order in every process, which a set of enum members does not have."""
    return [which for which in Weights if which in sets]
