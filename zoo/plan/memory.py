"""Memory of a process by part, for plain training and for every ZeRO stage.

`footprint` says what a process holds were nothing in pieces; here is what each layout makes of it:
what it divides, and which buffers it adds (DeepSpeed 0.19, found by measuring on CPU:
benchmarks/memory.py, which the tests repeat). A CUDA device's numbers follow from the same code
and are not measured: there DeepSpeed's reduce bucket counts whole, on a CPU as far as it is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from zoo.devices import shared_host_bytes
from zoo.engine.zero_options import ZeroOptions, configuration
from zoo.plan.footprint import Footprint
from zoo.plan.layout import Layout, MemoryEstimate, MemoryParts, Stage
from zoo.plan.live_bytes import num_bytes

ERROR, ERROR_OF_STAGE_3 = 0.10, 0.15
"""The most that an estimate was off a measured peak, as benchmarks/memory.py measures it.

Stage 3 fetches and frees as DeepSpeed sees fit: what is fetched at once is not known exactly.
"""

DEEPSPEED = 75_000_000
"""Resident bytes of a process that DeepSpeed adds to those of its libraries."""

_PORTION = 2**26  # Elements that the plain engine averages at a time.
_FLOAT32 = 4


def estimate(
    of: Footprint,
    layout: Layout,
    processes: int,
    *,
    cuda: bool = False,
    runtime: int = 0,
    options: Mapping[str, Any] | None = None,
) -> MemoryEstimate:
    """The peak of the process that has most to do.

    `runtime` is what a process holds without any tensor; `options` are DeepSpeed's own.
    """
    zero = configuration(
        ZeroOptions(layout.stage or 0, layout.offload, options or {}),
        1.0,
        torch.device("cuda" if cuda else "cpu"),
        elements=sum(p.numel() for p in (*of.frozen, *of.trained)),
        trained=sum(p.numel() for p in of.trained),
    )["zero_optimization"]
    sizes = _Sizes(of, processes, cuda, zero)
    phases = _with_what_is_beside(sizes, _PHASES[layout.stage](sizes))
    if layout.stage is not None and not cuda:
        runtime += DEEPSPEED
    return MemoryEstimate(
        layout,
        {
            name: _offload(replace(phases[name], runtime=runtime), layout, cuda, of)
            for name in _ORDER
            if name in phases
        },
    )


class _Sizes:
    """Bytes of what the layouts are made of."""

    def __init__(
        self, of: Footprint, processes: int, cuda: bool, options: Mapping[str, Any]
    ) -> None:
        self.of = of
        self.processes = processes
        self.cuda = cuda
        self.trained = num_bytes(of.trained)
        self.network = num_bytes(of.frozen) + self.trained
        self.copies = num_bytes(of.copies)
        elements = sum(p.numel() for p in of.trained)
        self.master = _FLOAT32 * elements
        self.piece = -(-self.master // processes)
        largest = max(p.numel() for p in of.trained)
        item = self.trained // max(1, elements)
        # Adam's step: torch works on all tensors at once on CUDA, on one at a time on the CPU.
        self.step_in_place = self.trained if cuda else 3 * _FLOAT32 * largest
        self.step_of_piece = self.piece if cuda else 2 * self.piece
        self.averaged = _FLOAT32 * min(elements, _PORTION + largest) if processes > 1 else 0
        bucket = int(options["reduce_bucket_size"]) * item
        self.in_bucket = min(self.trained, bucket)
        self.bucket = bucket if cuda else self.in_bucket
        self.idle_bucket = bucket if cuda else 0
        self._options = options

    def stage_3(self) -> "_Fetched":
        """What stage 3 keeps whole, and what it makes whole for a forward and a backward."""
        least = int(self._options.get("stage3_param_persistence_threshold", 1e5))
        of = self.of
        small = num_bytes(p for p in (*of.frozen, *of.trained, *of.copies) if p.numel() < least)
        if self.processes == 1:
            return _Fetched(small, 0, 0, 0)
        network = [p for p in (*of.frozen, *of.trained) if p.numel() >= least]
        elements, size = sum(p.numel() for p in network), num_bytes(network)

        def at_most(option: str) -> int:
            return int(size * min(1.0, int(self._options[option]) / max(1, elements)))

        # What arrives together stays, beside the tensors made of it, until all of it was used; by
        # then as much again is on its way.
        coming = 2 * at_most("stage3_prefetch_bucket_size")
        whole = at_most("stage3_max_live_parameters")
        forward = whole + min(size, coming)
        return _Fetched(small, whole, forward, of.remembered + forward)


@dataclass(frozen=True)
class _Fetched:
    """Bytes of the small parameters, always whole; of those made whole, alone and by phase."""

    small: int
    whole: int
    forward: int
    backward: int


def _plain(s: _Sizes) -> dict[str, MemoryParts]:
    held = MemoryParts(network=s.network, copies=s.copies, optimizer=2 * s.trained)
    learning = replace(held, gradients=s.trained)
    return {
        "collecting": replace(held, activations=s.of.sampling),
        "training": replace(learning, activations=s.of.training),
        "update": replace(learning, buffers=max(s.averaged, s.step_in_place)),
    }


def _stage_0(s: _Sizes) -> dict[str, MemoryParts]:
    phases = _plain(s)
    update = replace(phases["update"], buffers=max(s.in_bucket, s.step_in_place))
    return {**phases, "update": update}


def _stages_1_and_2(s: _Sizes, *, gradients: int) -> dict[str, MemoryParts]:
    """`gradients` are those held between two micro-batches."""
    held = MemoryParts(network=s.network, copies=s.copies, optimizer=s.piece + 2 * s.piece)
    return {
        "cutting": replace(
            held, optimizer=s.piece, buffers=max(s.piece, s.trained - s.piece)
        ),
        "collecting": replace(held, activations=s.of.sampling),
        "training": replace(
            held, gradients=gradients, activations=s.of.training, buffers=s.idle_bucket
        ),
        "update": replace(held, gradients=s.piece, buffers=s.step_of_piece),
    }  # fmt: skip


def _stage_1(s: _Sizes) -> dict[str, MemoryParts]:
    phases = _stages_1_and_2(s, gradients=s.trained)
    held = phases["collecting"]
    # Gradients move into the bucket, which is copied once more to be averaged.
    reduced = replace(held, activations=0, gradients=s.trained, buffers=s.bucket)
    return {**phases, "averaging": reduced}


def _stage_2(s: _Sizes) -> dict[str, MemoryParts]:
    if s.of.adapters:
        return _stage_1(s)  # Their gradients are reduced once an update, too.
    kept = s.piece if s.of.accumulates else 0
    phases = _stages_1_and_2(s, gradients=kept)
    reduced = replace(
        phases["collecting"], activations=0, gradients=kept + s.in_bucket, buffers=s.bucket
    )
    return {**phases, "averaging": reduced}


def _stage_3(s: _Sizes) -> dict[str, MemoryParts]:
    fetched = s.stage_3()
    held = MemoryParts(
        network=s.network // s.processes + fetched.small,
        copies=s.copies // s.processes,
        gradients=s.piece,
        optimizer=3 * s.piece,
        buffers=s.bucket,
    )
    forward = s.bucket + fetched.forward
    whole = s.trained if s.of.adapters else 0  # until an update reduces them
    return {
        **(_waiting(s) if s.cuda else {}),
        "collecting": replace(held, activations=s.of.sampling, buffers=forward),
        "training": replace(
            held, gradients=s.piece + whole, activations=s.of.training,
            buffers=s.bucket + fetched.backward,
        ),
        "averaging": replace(
            held, gradients=2 * s.piece + whole, buffers=s.bucket + fetched.whole + s.in_bucket
        ),
        "update": replace(
            held, gradients=2 * s.piece, buffers=s.bucket + s.step_of_piece
        ),
    }  # fmt: skip


def _waiting(s: _Sizes) -> dict[str, MemoryParts]:
    """A network in the host's memory, of which one parameter after the other is cut."""
    host = s.network + s.copies + s.of.building
    largest = max(num_bytes([p]) for p in (*s.of.frozen, *s.of.trained))
    network, copies = s.network // s.processes + largest, s.copies // s.processes
    return {"loading": MemoryParts(network=network, copies=copies, host=host)}


_PHASES: Mapping[Stage, Callable[[_Sizes], dict[str, MemoryParts]]] = {
    None: _plain, 0: _stage_0, 1: _stage_1, 2: _stage_2, 3: _stage_3
}  # fmt: skip


_ORDER = (
    "loading", "cutting", "encoding", "collecting", "scoring", "training", "averaging", "update",
    "evaluating",
)  # fmt: skip
"""Of the phases."""


def _with_what_is_beside(s: _Sizes, phases: Mapping[str, MemoryParts]) -> dict[str, MemoryParts]:
    """All phases of a run, with what is there beside the network and what trains it."""
    collecting = phases["collecting"]
    every = {
        # Every process loads all of it; at stage 3 beside a GPU its network waits on the host.
        "loading": MemoryParts(network=s.network, copies=s.copies, buffers=s.of.building),
        "encoding": replace(collecting, activations=0),
        # Images are scored while the next ones are made.
        "scoring": collecting,
        **phases,
    }
    if s.of.evaluating is not None:
        every["evaluating"] = replace(collecting, activations=s.of.evaluating)
    return {name: _beside(s, name, parts) for name, parts in every.items()}


def _beside(s: _Sizes, phase: str, parts: MemoryParts) -> MemoryParts:
    """A phase with text encoders, autoencoder and rewards: on the device, or beside a GPU."""
    encoders, rewards = s.of.encoders, s.of.rewards
    network = parts.network + s.of.quantized
    parts = replace(parts, network=network, autoencoder=s.of.outside)
    if not s.cuda:
        return replace(parts, encoders=encoders, rewards=rewards.everywhere)
    encoding = encoders if phase == "encoding" else 0
    scoring = {"scoring": rewards.trained, "evaluating": rewards.evaluated}.get(phase, 0)
    away = encoders - encoding + rewards.resting - scoring + rewards.on_host
    stay = rewards.stay + scoring
    return replace(parts, encoders=encoding, rewards=stay, host=parts.host + away)


def _offload(parts: MemoryParts, layout: Layout, cuda: bool, of: Footprint) -> MemoryParts:
    """With what lies in the host's memory counted there, where that is another."""
    if not cuda:
        return parts
    if of.copies_on_host:
        sets = len(of.copies) // len(of.trained)
        return replace(parts, copies=0, host=parts.host + sets * shared_host_bytes(of.trained))
    if layout.offload == "none":
        return parts
    host, parts = parts.host + parts.optimizer, replace(parts, optimizer=0)
    if layout.offload == "parameters":
        host, parts = host + parts.network + parts.copies, replace(parts, network=0, copies=0)
    return replace(parts, host=host)
