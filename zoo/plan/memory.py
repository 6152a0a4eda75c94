"""Memory of a process by part, for plain training and for every ZeRO stage.

`footprint` says what a process holds were nothing in pieces; here is what each layout makes of it:
what it divides, and which buffers it adds (DeepSpeed 0.19, found by measuring on CPU:
benchmarks/memory.py, which the tests repeat). A CUDA device's numbers follow from the same code
and are not measured: there DeepSpeed's reduce bucket counts whole, on a CPU as far as it is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

import torch

from zoo.engine.zero import ZeroOptions, configuration
from zoo.plan.footprint import Footprint
from zoo.plan.live_bytes import num_bytes

ERROR, ERROR_OF_STAGE_3 = 0.05, 0.15
"""The most that an estimate was off a measured peak, as benchmarks/memory.py measures it.

Stage 3 fetches and frees as DeepSpeed sees fit: what is fetched at once is not known exactly.
"""

SPARE = 0.10
"""What a recommended layout leaves of a device's memory."""

DEEPSPEED = 75_000_000
"""Resident bytes of a process that DeepSpeed adds to those of its libraries."""

_PORTION = 2**26  # Elements that the plain engine averages at a time.
_FLOAT32 = 4

Stage = int | None
Offload = Literal["none", "optimizer", "parameters"]


@dataclass(frozen=True)
class MemoryParts:
    """Bytes of one process at the moment of its peak; `host` are in the host's memory."""

    weights: int = 0
    copies: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    buffers: int = 0
    runtime: int = 0
    host: int = 0

    @property
    def total(self) -> int:
        """What the device holds."""
        parts = [cast(int, getattr(self, part.name)) for part in fields(self)]
        return sum(parts) - self.host


@dataclass(frozen=True)
class Layout:
    """How training spreads over processes; no stage is the plain engine."""

    stage: Stage
    offload: Offload = "none"

    @property
    def recipe(self) -> str:
        """What to write in a recipe for it."""
        stage = "null" if self.stage is None else self.stage
        offload = "" if self.offload == "none" else f", engine.offload: {self.offload}"
        return f"engine.zero_stage: {stage}{offload}"


@dataclass(frozen=True)
class MemoryEstimate:
    """A layout's peak, and in which phase it is."""

    layout: Layout
    parts: MemoryParts
    phase: str


def layouts(*, cuda: bool, copies_on_host: bool = False) -> tuple[Layout, ...]:
    """From the fastest to the one that needs least; offloading is of use beside a GPU alone.

    Copies in the host's memory are for the plain engine.
    """
    if copies_on_host:
        return (Layout(None),)
    stages = [Layout(stage) for stage in (None, 0, 1, 2, 3)]
    offloads = [Layout(2, "optimizer"), Layout(3, "optimizer"), Layout(3, "parameters")]
    return (*stages, *(offloads if cuda else ()))


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
    phases = {"loading": sizes.loading, **_PHASES[layout.stage](sizes)}
    if layout.stage is not None and not cuda:
        runtime += DEEPSPEED
    peaks = {
        name: _offload(replace(parts, runtime=runtime), layout, cuda, of.copies_on_host)
        for name, parts in phases.items()
    }
    peak = max(peaks, key=lambda name: peaks[name].total)
    return MemoryEstimate(layout, peaks[peak], peak)


def recommend(estimates: Sequence[MemoryEstimate], available: int) -> MemoryEstimate | None:
    """The first that fits with room to spare; ZeRO's stage 0 is plain training, but slower."""
    for one in estimates:
        if one.layout.stage != 0 and one.parts.total <= (1 - SPARE) * available:
            return one
    return None


class _Sizes:
    """Bytes of what the layouts are made of."""

    def __init__(
        self, of: Footprint, processes: int, cuda: bool, options: Mapping[str, Any]
    ) -> None:
        self.of = of
        self.processes = processes
        self.trained = num_bytes(of.trained)
        self.weights = of.outside + num_bytes(of.frozen) + self.trained
        self.copies = num_bytes(of.copies)
        # Every process loads all of it before any of it is cut in pieces.
        self.loading = MemoryParts(weights=self.weights, copies=self.copies, buffers=of.building)
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
    held = MemoryParts(weights=s.weights, copies=s.copies, optimizer=2 * s.trained)
    learning = replace(held, gradients=s.trained)
    return {
        "sampling": replace(held, activations=s.of.sampling),
        "training": replace(learning, activations=s.of.training),
        "update": replace(learning, buffers=max(s.averaged, s.step_in_place)),
    }


def _stage_0(s: _Sizes) -> dict[str, MemoryParts]:
    phases = _plain(s)
    update = replace(phases["update"], buffers=max(s.in_bucket, s.step_in_place))
    return {**phases, "update": update}


def _stages_1_and_2(s: _Sizes, *, gradients: int) -> dict[str, MemoryParts]:
    """`gradients` are those held between two micro-batches."""
    held = MemoryParts(weights=s.weights, copies=s.copies, optimizer=s.piece + 2 * s.piece)
    return {
        "cutting": replace(
            held, optimizer=s.piece, buffers=max(s.piece, s.trained - s.piece)
        ),
        "sampling": replace(held, activations=s.of.sampling),
        "training": replace(
            held, gradients=gradients, activations=s.of.training, buffers=s.idle_bucket
        ),
        "update": replace(held, gradients=s.piece, buffers=s.step_of_piece),
    }  # fmt: skip


def _stage_1(s: _Sizes) -> dict[str, MemoryParts]:
    phases = _stages_1_and_2(s, gradients=s.trained)
    held = phases["sampling"]
    # Gradients move into the bucket, which is copied once more to be averaged.
    reduced = replace(held, activations=0, gradients=s.trained, buffers=s.bucket)
    return {**phases, "averaging": reduced}


def _stage_2(s: _Sizes) -> dict[str, MemoryParts]:
    kept = s.piece if s.of.accumulates else 0
    phases = _stages_1_and_2(s, gradients=kept)
    reduced = replace(
        phases["sampling"], activations=0, gradients=kept + s.in_bucket, buffers=s.bucket
    )
    return {**phases, "averaging": reduced}


def _stage_3(s: _Sizes) -> dict[str, MemoryParts]:
    fetched = s.stage_3()
    held = MemoryParts(
        weights=s.of.outside + (s.weights - s.of.outside) // s.processes + fetched.small,
        copies=s.copies // s.processes,
        gradients=s.piece,
        optimizer=3 * s.piece,
        buffers=s.bucket,
    )
    forward = s.bucket + fetched.forward
    return {
        "sampling": replace(held, activations=s.of.sampling, buffers=forward),
        "training": replace(
            held, activations=s.of.training, buffers=s.bucket + fetched.backward
        ),
        "averaging": replace(
            held, gradients=2 * s.piece, buffers=s.bucket + fetched.whole + s.in_bucket
        ),
        "update": replace(
            held, gradients=2 * s.piece, buffers=s.bucket + s.step_of_piece
        ),
    }  # fmt: skip


_PHASES: Mapping[Stage, Callable[[_Sizes], dict[str, MemoryParts]]] = {
    None: _plain, 0: _stage_0, 1: _stage_1, 2: _stage_2, 3: _stage_3
}  # fmt: skip


def _offload(parts: MemoryParts, layout: Layout, cuda: bool, copies_on_host: bool) -> MemoryParts:
    """With what lies in the host's memory counted there, where that is another."""
    if not cuda:
        return parts
    if copies_on_host:
        return replace(parts, copies=0, host=parts.copies)
    if layout.offload == "none":
        return parts
    host, parts = parts.optimizer, replace(parts, optimizer=0)
    if layout.offload == "parameters":
        host, parts = host + parts.weights + parts.copies, replace(parts, weights=0, copies=0)
    return replace(parts, host=host)
