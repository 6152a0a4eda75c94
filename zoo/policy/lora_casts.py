"""What LoRA's layers in half precision multiply by: A and s B of a set, cast once an update.

A cast is of the values that parameters had, and is made anew when they have others. Torch counts
what is written into a parameter (`_version`), and one that got other memory has another address.
What writes behind torch's back, as an engine does that keeps weights in one flat piece, has to say
so: `forget`.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

Pairs = list[tuple[Tensor, Tensor]]


class Casts:
    """Those of all adapters of a network's layers, which compute with one adapter's at a time."""

    def __init__(self, layers: Iterable[Any] = ()) -> None:
        """Of layers that can cast: `HalfLinear`."""
        self._layers = list(layers)
        self._adapter: str | None = None
        self._made: dict[str, tuple[object, Pairs]] = {}
        self._opened: Callable[[Sequence[Tensor]], AbstractContextManager[object]] | None = None

    def attach(self, opened: Callable[[Sequence[Tensor]], AbstractContextManager[object]]) -> None:
        """An engine keeps parameters in pieces, whole inside `opened`; only `forget` counts now.

        What a piece's version and address are differs between processes, which must all open
        parameters or none. The network may have waited in the host's memory until now, and what was
        cast there is of no use: it is cast anew, as the layers may be called before a `refresh`.
        """
        self._opened = opened
        self._made.clear()
        self.refresh()

    def choose(self, adapter: str | None) -> None:
        """Has the layers compute with the values that this adapter has now; None: as PEFT does."""
        self._adapter = adapter
        self.refresh()

    def refresh(self) -> None:
        """The adapter that was chosen may have other values than it had then."""
        made: Pairs | list[None] = [None] * len(self._layers)
        if self._adapter is not None:
            made = self._of(self._adapter)
        for layer, pair in zip(self._layers, made, strict=True):
            if layer.casts is not pair:
                layer.casts, layer.chosen = pair, self._adapter

    def forget(self, adapter: str) -> None:
        """The adapter's values are others now."""
        self._made.pop(adapter, None)

    def _of(self, adapter: str) -> Pairs:
        masters = [p for layer in self._layers for p in layer.masters(adapter)]
        seen = None if self._opened else [(p._version, p.data_ptr()) for p in masters]
        if adapter not in self._made or self._made[adapter][0] != seen:
            whole = self._opened(masters) if self._opened else nullcontext()
            with torch.no_grad(), whole:
                self._made[adapter] = (seen, [layer.cast(adapter) for layer in self._layers])
        return self._made[adapter][1]
