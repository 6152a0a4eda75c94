"""The loss of a network in float16 is scaled, so that its small gradients are not rounded to 0.

Micikevicius et al. 2018, "Mixed precision training" (arXiv 1710.03740, section 3.2), with the scale
found as it goes: it is halved where a gradient overflows, and doubled after many that do not. A
power of two, it changes no digit of what float16 can hold.
"""

from collections.abc import Mapping

_FIRST = 2.0**16
_LEAST, _MOST = 1.0, 2.0**24
_PATIENCE = 2000
"""Updates without an overflow until a larger scale is tried."""


class LossScale:
    """By what losses are multiplied, and gradients divided again."""

    def __init__(self, *, moves: bool) -> None:
        """One that does not move is 1: bfloat16 and float32 have the range."""
        self._moves = moves
        self.value = _FIRST if moves else 1.0
        self._since = 0

    def updated(self, *, is_finite: bool) -> None:
        """After an update, or after one that was dropped as its gradient was not finite."""
        if not self._moves:
            return
        self._since = self._since + 1 if is_finite else 0
        if not is_finite:
            self.value = max(self.value / 2, _LEAST)
        elif self._since >= _PATIENCE:
            self.value, self._since = min(self.value * 2, _MOST), 0

    def state(self) -> dict[str, float]:
        """What a run goes on with: nothing of one that does not move."""
        return {"value": self.value, "since": self._since} if self._moves else {}

    def load(self, state: Mapping[str, float]) -> None:
        """Takes back what `state` gave; what is not there stays as it is."""
        if self._moves:
            self.value = state.get("value", self.value)
            self._since = int(state.get("since", self._since))
