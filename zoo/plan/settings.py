"""Settings with which a run fits into its memory, found by the estimates: what `zoo init` writes.

A dry run of a large model takes a minute, so there are few: with the smallest micro-batches, once
as it is and once with activations computed again. What micro-batches hold is taken to grow with
their rows, which says more than they will take, never less.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from zoo.errors import UserError
from zoo.plan.footprint import Footprint, footprint
from zoo.plan.layout import SPARE, Layout, MemoryEstimate, layouts
from zoo.plan.memory import estimate
from zoo.recipe.model import Recipe

_FEW = 4
"""Rows of a training micro-batch from which on a GPU has enough to do."""

_SMALLEST = ((4, 2), (1, 1))
"""Micro-batches of sampling and training that are run dry: the second where the first fits not."""


class NothingFitsError(UserError):
    """No setting needs as little memory as there is."""


@dataclass(frozen=True)
class Settings:
    """Rows of the micro-batches, whether activations are computed again, and how it is spread."""

    sample: int
    train: int
    checkpointing: bool
    layout: Layout


@dataclass(frozen=True)
class Machine:
    """Processes, one a GPU where `cuda`, and the bytes that each has; `runtime` are taken already.

    On a CPU these are the libraries.
    """

    processes: int
    memory: int
    cuda: bool
    runtime: int = 0

    def holds(self, estimate: MemoryEstimate) -> bool:
        """Whether each process has as much, with a tenth to spare."""
        return estimate.parts.total <= (1 - SPARE) * self.memory


@dataclass(frozen=True)
class Fit:
    """Settings that fit, what they hold by the estimate, and the dry run that says so."""

    settings: Settings
    estimate: MemoryEstimate
    footprint: Footprint


def find_fit(make: Callable[[Settings], Recipe], machine: Machine, most: tuple[int, int]) -> Fit:
    """The fastest settings that leave a tenth of the memory.

    `make` gives the recipe with settings; `most` are the largest micro-batches to be thought of, of
    sampling and training.

    Raises:
        NoEstimateError: there is no estimate for this recipe.
        NothingFitsError: nothing fits; says the least that is needed, and when.
    """
    tried: list[Fit] = []
    for sample, train in _SMALLEST:
        smallest = (min(sample, most[0]), min(train, most[1]))
        for checkpointing in (False, True):
            settings = Settings(*smallest, checkpointing, Layout(None))
            of = footprint(make(settings), machine.processes)
            tried += _largest_of_each_layout(of, settings, machine, most)
            fits = [one for one in tried if machine.holds(one.estimate)]
            enough = min(_FEW, most[1])
            best = min(fits, key=lambda one: _slowness(one.settings, enough), default=None)
            if best is not None and (checkpointing or _is_fast(best.settings, enough)):
                return best
    least = min((one.estimate for one in tried), key=lambda one: one.parts.total)
    raise NothingFitsError(
        f"nothing fits {machine.memory / 1e9:.3g} GB a process: the least is "
        f"{least.parts.total / (1 - SPARE) / 1e9:.3g} GB with a tenth to spare (while "
        f"{least.phase}, with {least.layout.recipe}); take more or larger GPUs, fewer or smaller "
        "rewards, LoRA in place of --full, or a smaller model"
    )


def _largest_of_each_layout(
    of: Footprint, settings: Settings, machine: Machine, most: tuple[int, int]
) -> Iterator[Fit]:
    """For each way to spread training the largest micro-batches that fit, or the smallest."""
    for layout in layouts(cuda=machine.cuda, copies_on_host=of.copies_on_host):
        of_use = layout.stage is None or machine.processes > 1 or layout.offload != "none"
        if layout.stage == 0 or not of_use:
            continue
        sizes = [*_halved(most, (settings.sample, settings.train))]
        for sample, train in sizes:
            larger = replace(settings, sample=sample, train=train, layout=layout)
            fit = Fit(larger, _estimate(of, settings, larger, machine), of)
            if machine.holds(fit.estimate) or (sample, train) == sizes[-1]:
                yield fit
                break


def _halved(most: tuple[int, int], least: tuple[int, int]) -> Iterator[tuple[int, int]]:
    sample, train = most
    while (sample, train) != least:
        yield sample, train
        sample, train = max(least[0], sample // 2), max(least[1], train // 2)
    yield least


def _estimate(of: Footprint, ran: Settings, now: Settings, machine: Machine) -> MemoryEstimate:
    """What the dry run of some micro-batches says of larger ones."""
    collected, trained = now.sample / ran.sample, now.train / ran.train
    larger = replace(
        of,
        sampling=int(of.sampling * collected),
        evaluating=None if of.evaluating is None else int(of.evaluating * collected),
        training=int(of.training * trained),
    )
    return estimate(
        larger, now.layout, machine.processes, cuda=machine.cuda, runtime=machine.runtime
    )


def _is_fast(settings: Settings, enough: int) -> bool:
    return settings.layout.stage is None and settings.train >= enough


_OFFLOADS = ("none", "optimizer", "parameters")


def _slowness(mine: Settings, enough: int) -> tuple[int, int, bool, bool, int]:
    """The order of preference: what waits least for others or the host, then has enough to do."""
    stage = -1 if mine.layout.stage is None else mine.layout.stage
    few = mine.train < enough
    return _OFFLOADS.index(mine.layout.offload), stage, few, mine.checkpointing, -mine.train
