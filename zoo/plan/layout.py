"""The ways to spread training over processes, and what each holds of a process's memory by part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, cast

SPARE = 0.10
"""What a recommended layout leaves of a device's memory."""

Stage = int | None
Offload = Literal["none", "optimizer", "parameters"]


@dataclass(frozen=True)
class MemoryParts:
    """Bytes of one process at the peak of a phase; `host` are in the host's memory.

    `autoencoder` is all that is loaded beside the network and stays on the device.
    """

    network: int = 0
    copies: int = 0
    gradients: int = 0
    optimizer: int = 0
    encoders: int = 0
    autoencoder: int = 0
    rewards: int = 0
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
    """What a layout holds at most in each phase of a run, in the order of the first epoch."""

    layout: Layout
    phases: Mapping[str, MemoryParts]

    @property
    def phase(self) -> str:
        """That of the peak."""
        return max(self.phases, key=lambda name: self.phases[name].total)

    @property
    def parts(self) -> MemoryParts:
        """Those at the peak."""
        return self.phases[self.phase]


def layouts(*, cuda: bool, copies_on_host: bool = False) -> tuple[Layout, ...]:
    """From the fastest to the one that needs least; offloading is of use beside a GPU alone.

    Copies in the host's memory are for the plain engine.
    """
    if copies_on_host:
        return (Layout(None),)
    stages = [Layout(stage) for stage in (None, 0, 1, 2, 3)]
    offloads = [Layout(2, "optimizer"), Layout(3, "optimizer"), Layout(3, "parameters")]
    return (*stages, *(offloads if cuda else ()))


def recommend(estimates: Sequence[MemoryEstimate], available: int) -> MemoryEstimate | None:
    """The first that fits with room to spare; ZeRO's stage 0 is plain training, but slower."""
    for one in estimates:
        if one.layout.stage != 0 and one.parts.total <= (1 - SPARE) * available:
            return one
    return None
