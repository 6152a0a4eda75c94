"""A solver's field as torchdiffeq asks it: the time first, its evaluations counted."""

from torch import Tensor

from zoo.sampler.base import Field


class TorchdiffeqField:
    """func(t, x) of a field(x, t), never asked outside of [last, first].

    torchdiffeq rounds times to the latents' type, and so past the ends by a rounding error.
    """

    def __init__(self, field: Field, first: Tensor, last: Tensor) -> None:
        """From `first` down to `last`, both 0-dim."""
        self.num_evals = 0
        self._field = field
        self._first, self._last = float(first), float(last)

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity at x and a 0-dim t."""
        self.num_evals += 1
        return self._field(x, t.double().clamp(self._last, self._first))
