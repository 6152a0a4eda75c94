"""How fast an epoch's forwards were: FLOP a second, and as a part of what the device reaches.

Counted are those of the trained network on images: of fillers, of an autoencoder and of rewards
none, and what gradient checkpointing computes again counts once. So it says what came of the
device, whatever else it was busy with. It costs nothing: the rows of forwards are counted anyway.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """FLOPs of a row's `forward` without gradients, and of one with them and its backward.

    `graded` is the part of learning's forwards that have gradients, `reachable` the FLOP a second
    of large products on the device; None where that is not known.
    """

    forward: float
    gradient: float
    graded: float
    reachable: float | None = None

    @property
    def learned(self) -> float:
        """FLOPs of a row's forward in learning, on average."""
        return self.graded * self.gradient + (1 - self.graded) * self.forward


def speeds(
    work: Work, evals: Mapping[str, int], seconds: Mapping[str, float], processes: int
) -> dict[str, float]:
    """`tflops/PHASE`, 1e12 FLOP a second of the average process, and `mfu/PHASE`, its part.

    `evals` are the rows of forwards of the phases `collect` and `learn`, `seconds` their times. A
    phase without a forward has neither.
    """
    each = {"collect": work.forward, "learn": work.learned}
    flops = {phase: n * each[phase] for phase, n in evals.items()}
    rates = {phase: n / processes / seconds[phase] for phase, n in flops.items() if n}
    found = {f"tflops/{phase}": rate / 1e12 for phase, rate in rates.items()}
    if work.reachable is not None:
        found |= {f"mfu/{phase}": rate / work.reachable for phase, rate in rates.items()}
    return found
