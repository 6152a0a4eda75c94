"""Whether images have left the range of those that the model made before training.

Trained models make other images, and are meant to. But where the average image is one that would
have been unusual before, a trick is likely: everything white, busy, grey or blurred.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from zoo.storage.files import or_nan

MARGIN = 2.0
"""How many standard deviations (over the images before training) a mean may go from the first.

Measured on the digits: recipes/nft_digits.yaml goes 1.1 at most in 20 epochs (brightness),
recipes/flow_grpo_digits.yaml 0.5 in 25; the same model, trained for contrast alone as in
docs/monitor.md, goes 3.7 to 7.4 in all four within 5 epochs.
"""

WATCHED = ("brightness", "edge_density", "colour_entropy", "latent_square")
"""The measures of `looks` that have a range. Often no image is saturated before training, and the
first value that is would be out of it."""

DEVIATION = "monitor_std/"
"""Before a measure's name in an evaluation's record: its standard deviation over images."""

Line = Mapping[str, float | None]
"""The recorded numbers of an epoch."""


@dataclass(frozen=True)
class Departure:
    """A measure whose mean is out of the range: what it is now, and the range's two ends."""

    measure: str
    now: float
    low: float
    high: float


def newly_departed(earlier: Sequence[Line], now: Line) -> list[Departure]:
    """The measures that have left the range since the last evaluation, in the order of `WATCHED`.

    None where no line of epoch 0 has deviations, as in runs of earlier versions.
    """
    ranges = base_ranges(earlier)
    last: Line = next((line for line in reversed(earlier) if _has_deviations(line)), {})
    known = {departure.measure for departure in _departures(ranges, last)}
    return [one for one in _departures(ranges, now) if one.measure not in known]


def base_ranges(lines: Sequence[Line]) -> dict[str, tuple[float, float]]:
    """The range of each measure, by the evaluation before training; empty where that has none."""
    first = next(filter(_has_deviations, lines), None)
    if first is None or first["epoch"] != 0:
        return {}
    ranges = {}
    for measure in WATCHED:
        mean = or_nan(first.get(f"monitor/{measure}"))
        room = MARGIN * or_nan(first.get(f"{DEVIATION}{measure}"))
        if math.isfinite(mean) and math.isfinite(room):
            ranges[measure] = (mean - room, mean + room)
    return ranges


def _has_deviations(line: Line) -> bool:
    return any(key.startswith(DEVIATION) for key in line)


def _departures(ranges: Mapping[str, tuple[float, float]], line: Line) -> Iterator[Departure]:
    for measure, (low, high) in ranges.items():
        now = or_nan(line.get(f"monitor/{measure}"))
        # Of NaN, as in an evaluation without a sound image, nothing is said.
        if now < low or now > high:
            yield Departure(measure, now, low, high)
