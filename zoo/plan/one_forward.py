"""Forwards that are alike, run once: a sampler asks a network for the same shapes at every step."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from zoo.plan.live_bytes import LiveBytes
from zoo.policy.base import Policy
from zoo.policy.stand_in import WithVelocity
from zoo.rollout import Cond


@dataclass(frozen=True)
class _Forward:
    """What a forward held at most while it ran, what it took, and what it gave."""

    most: int
    flops: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    elements: int
    dtype: torch.dtype

    def give(self, device: torch.device) -> Tensor:
        """Another tensor like the one it gave, in as much memory."""
        whole = torch.empty(self.elements, dtype=self.dtype, device=device)
        return whole.as_strided(self.shape, self.stride, self.offset)


class OneForward:
    """A policy on the meta device whose forwards without gradients run once for each shape.

    All others count in `live` as the first one did, and their operations in `left_out`.
    """

    def __init__(
        self, policy: Policy, live: LiveBytes, counter: FlopCounterMode | None = None
    ) -> None:
        """One set of weights must be in use all along; `counter` counts what does run."""
        self.policy = WithVelocity(policy, self._velocity)
        self.left_out = 0
        self._network, self._live, self._counter = policy, live, counter
        self._known: dict[Hashable, _Forward] = {}

    def _velocity(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        kind = (x.shape, x.dtype, t.shape, cond.guidance)
        if kind in self._known:
            known = self._known[kind]
            self.left_out += known.flops
            out = known.give(x.device)
            self._live.reach(known.most - out.untyped_storage().nbytes())
            return out
        before = self._flops()
        out, most = self._live.highest(lambda: self._network.velocity(x, t, cond))
        storage = out.untyped_storage()
        self._known[kind] = _Forward(
            most, self._flops() - before, tuple(out.shape), out.stride(), int(out.storage_offset()),
            storage.nbytes() // out.element_size(), out.dtype,
        )  # fmt: skip
        return out

    def _flops(self) -> int:
        return 0 if self._counter is None else self._counter.get_total_flops()
