"""How old weights follow live, and the schedules that were published."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt


def old_decay(step: int, *, flat: int, rate: float, cap: float, first: float = 0.0) -> float:
    """How much of old stays at gradient step `step`.

    `first` before `flat`, then min(first + rate (step - flat), cap). DiffusionNFT's types: 0 is
    rate 0; 1 is flat 0, rate 0.001, cap 0.5; 2 is flat 75, rate 0.0075, cap 0.999.
    """
    return first if step < flat else min(first + rate * (step - flat), cap)


@dataclass(frozen=True)
class OldSchedule:
    """How the old weights follow live: see `old_decay`."""

    flat: Annotated[int, Ge(0)] = 0
    rate: Annotated[float, Ge(0)] = 0.001
    cap: Annotated[float, Ge(0), Lt(1)] = 0.5
    first: Annotated[float, Ge(0), Lt(1)] = 0.0

    def at(self, step: int) -> float:
        """How much stays at a gradient step."""
        return old_decay(step, flat=self.flat, rate=self.rate, cap=self.cap, first=self.first)
