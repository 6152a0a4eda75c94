"""Micro-batches that fit: `engine.micro_batch: {sample: auto, train: auto}`, by the estimates."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import psutil

from zoo import devices
from zoo.plan.footprint import Footprint, footprints
from zoo.plan.geometry import plan
from zoo.plan.layout import SPARE, Layout
from zoo.plan.memory import estimate
from zoo.recipe.model import Recipe
from zoo.recipe.recipe import RecipeError
from zoo.recipe.sections import Sizes

_ALL = 10**6
"""More images than a process has."""

Peaks = Mapping[Hashable, int]
"""Bytes by phase."""


@dataclass(frozen=True)
class Fit:
    """A recipe with the micro-batches that were found for it, and what they come to."""

    recipe: Recipe
    peak: int
    """Bytes of a process, by the estimate."""
    available: int

    @property
    def said(self) -> str:
        """For the user."""
        sizes, spare = self.recipe.engine.micro_batch.sizes, 1 - self.peak / self.available
        return (
            f"micro-batches of {sizes.sample} to make images and of {sizes.train} to train; of "
            f"{in_bytes(self.available)} {spare:.0%} to spare by the estimate"
        )


def fit(recipe: Recipe, processes: int, available: int) -> Fit:
    """The recipe with the most images that fit into `available` bytes of a process.

    `auto` is replaced, and what is written as a number stays. A tenth of the memory is spared: see
    `SPARE`.

    Raises:
        NoEstimateError: the policy cannot be run on shapes alone.
        RecipeError: the least does not fit.
    """
    room = int((1 - SPARE) * available)

    @cache
    def peaks(sizes: Sizes) -> Peaks:
        with_these = recipe.with_micro_batch(sizes)
        return _peaks(with_these, footprints(with_these, processes), processes)

    least, most = _bounds(recipe, processes)
    sizes, needed = least, max(peaks(least).values())
    if needed > room:
        place = recipe.origin(("engine", "micro_batch"))
        raise RecipeError(
            f"{place}: engine.micro_batch is auto, and {least.sample} to make and {least.train} to "
            f"train need {in_bytes(needed)} of the {in_bytes(room)} that a process may take; write "
            "policy.lora or engine.gradient_checkpointing: true, or look at `zoo check`, with "
            "numbers, for what takes most"
        )
    for key in Sizes._fields:

        def peaks_at(number: int, key: str = key, others: Sizes = sizes) -> Peaks:
            return peaks(others._replace(**{key: number}))

        best = largest(peaks_at, getattr(least, key), getattr(most, key), room)
        sizes = sizes._replace(**{key: best})
    return Fit(recipe.with_micro_batch(sizes), max(peaks(sizes).values()), available)


def largest(peaks: Callable[[int], Peaks], low: int, high: int, room: int) -> int:
    """The largest number from `low`, which fits, to `high` with which every peak is within `room`.

    A phase of an epoch grows with the rows of its micro-batches as a straight line.
    """
    at_high = peaks(high)
    if max(at_high.values()) <= room:
        return high
    at_low = peaks(low)
    found = min(
        low + (room - at_low[phase]) * (high - low) // (at_high[phase] - at_low[phase])
        for phase in at_high
        if at_high[phase] > room
    )
    # A line that bends: rare, and no reason to take what does not fit.
    while found > low and max(peaks(found).values()) > room:
        found = (low + found) // 2
    return found


def _peaks(recipe: Recipe, of_stages: Sequence[Footprint], processes: int) -> Peaks:
    """Bytes of a process in each phase of each stage, spread as the recipe says."""
    own = Layout(recipe.engine.zero_stage, recipe.engine.offload)
    cuda, options = runs_on_accelerator(recipe), recipe.engine.deepspeed
    return {
        (i, phase): parts.total
        for i, of in enumerate(of_stages)
        for phase, parts in estimate(of, own, processes, cuda=cuda, options=options).phases.items()
    }


def runs_on_accelerator(recipe: Recipe) -> bool:
    """Whether this machine has one and the recipe may use it."""
    return recipe.engine.device != "cpu" and devices.is_accelerator(devices.default_device())


def memory_of_a_process(recipe: Recipe, processes: int) -> int:
    """Bytes: an accelerator's memory, or a share of what is free here."""
    if runs_on_accelerator(recipe):
        return devices.whole_memory()
    return int(psutil.virtual_memory().available) // processes


def in_bytes(number: int) -> str:
    """As people read it."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6))} MB"


def _bounds(recipe: Recipe, processes: int) -> tuple[Sizes, Sizes]:
    """From one row to all that any stage's process has; where a number is written, only that."""
    written = recipe.engine.micro_batch
    least, most = Sizes(1, 1), Sizes(1, 1)
    for stage in recipe.timeline:
        whole = plan(stage.recipe.with_micro_batch(Sizes(_ALL, _ALL)), processes)
        row = whole.images_per_row
        least = least._replace(train=max(least.train, row))
        most = Sizes(
            max(most.sample, whole.sampling.rows), max(most.train, whole.training.rows * row)
        )
    numbers = {
        name: number for name in Sizes._fields if isinstance(number := getattr(written, name), int)
    }
    return least._replace(**numbers), most._replace(**numbers)
