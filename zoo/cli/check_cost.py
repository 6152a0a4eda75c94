"""What `zoo check` says of cost: an epoch's time, memory for each way to spread training."""

from collections.abc import Sequence

import psutil
import torch
from rich.table import Table

from zoo import devices
from zoo.plan.fit import in_bytes, memory_of_a_process, runs_on_accelerator
from zoo.plan.flops import reachable
from zoo.plan.footprint import Footprint, NoEstimateError, footprints
from zoo.plan.layout import Layout, MemoryEstimate, layouts, recommend
from zoo.plan.memory import ERROR, ERROR_OF_STAGE_3, estimate
from zoo.recipe.recipe import Recipe
from zoo.terminal import Terminal

_PARTS = (
    "network", "copies", "gradients", "optimizer", "encoders", "autoencoder", "rewards",
    "activations", "buffers", "runtime",
)  # fmt: skip


UTILISATION = (0.25, 0.5)
"""From and to: a whole epoch's, as a part of what a matrix product reaches.

benchmarks/throughput.py measures it; small micro-batches and what waits for the host have less.
"""


def find_cost(recipe: Recipe, processes: int) -> list[Footprint] | NoEstimateError:
    """What the stages of a recipe come to on so many processes, or why that is not known.

    Raises:
        RecipeError: the network has not what an option names.
    """
    try:
        return footprints(recipe, processes)
    except NoEstimateError as error:
        return error


def print_cost(
    console: Terminal, recipe: Recipe, processes: int, of_stages: list[Footprint] | NoEstimateError
) -> None:
    """Prints the estimates that were found for this recipe, or why there are none."""
    if isinstance(of_stages, NoEstimateError):
        console.print(f"no estimate of memory and time: {of_stages}")
        return
    console.print(f"trained: {of_stages[0].trains}", markup=False)
    cuda = runs_on_accelerator(recipe)
    here = devices.default_device() if cuda else devices.CPU
    epochs = [max(0, stage.end - stage.start) for stage in recipe.timeline]
    console.print(_time(of_stages, epochs, here))
    for line in _flops_of_stages(recipe, of_stages):
        console.print(line, markup=False)
    # On CUDA what torch does not count, the context, is not counted here.
    runtime = 0 if cuda else psutil.Process().memory_info().rss
    own = Layout(recipe.engine.zero_stage, recipe.engine.offload)
    by_stage = [
        {
            layout: estimate(
                of, layout, processes, cuda=cuda, runtime=runtime, options=recipe.engine.deepspeed
            )
            for layout in dict.fromkeys(
                (*layouts(cuda=cuda, copies_on_host=of.copies_on_host), own)
            )
        }
        for of in of_stages
    ]
    largest = max(range(len(by_stage)), key=lambda i: by_stage[i][own].parts.total)
    estimates, mine = list(by_stage[largest].values()), by_stage[largest][own]
    of_stage = f" of {recipe.timeline[largest].shown}, which needs most" if recipe.stages else ""
    console.print(f"memory of a process by phase{of_stage}, with {own.recipe}", style="dim")
    console.print(_table_of_phases(mine))
    console.print(_table_of_layouts(estimates, own))
    console.print("(* this recipe)", style="dim")
    console.print(f"not counted: {_not_counted(of_stages)}", markup=False)
    console.print(_verdict(estimates, memory_of_a_process(recipe, processes)))


def _not_counted(footprints: Sequence[Footprint]) -> str:
    unknown = dict.fromkeys(name for of in footprints for name in of.unknown)
    at_work = "what rewards and text encoders hold beside their weights while they are at work"
    return ", ".join((*unknown, at_work))


def _time(footprints: Sequence[Footprint], epochs: Sequence[int], device: torch.device) -> str:
    """Of the process that has most to do, had it the device to itself."""
    flops = [of.flops for of in footprints if of.flops is not None]
    if len(flops) < len(footprints):
        return "time: as the solver needs for its tolerances"
    rate = reachable(device, footprints[0].dtype)
    dtype = str(footprints[0].dtype).removeprefix("torch.")

    low, high = UTILISATION

    def takes(least: float, most: float) -> str:
        return _from_to(_duration(least / (high * rate)), _duration(most / (low * rate)))

    total = sum(number * times for number, times in zip(flops, epochs, strict=True))
    least, most = min(flops), max(flops)
    return (
        f"time: {_from_to(_flops(least), _flops(most))} an epoch a process; at {high:.0%} to "
        f"{low:.0%} of the {_flops(rate)} a second that {dtype} products reach here "
        f"{takes(least, most)}, {sum(epochs)} epochs {takes(total, total)}; rewards and evaluation "
        "not counted"
    )


def _flops_of_stages(recipe: Recipe, footprints: Sequence[Footprint]) -> list[str]:
    """Of each, where they are not all alike: of videos the longest take most of a run."""
    known = [of.flops for of in footprints]
    if len(set(known)) == 1:
        return []
    return [
        f"  {stage.shown}: {_flops(flops)} an epoch a process"
        for stage, flops in zip(recipe.timeline, known, strict=True)
        if flops is not None
    ]


def _from_to(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


def _flops(number: float) -> str:
    power = max(0, min(6, (len(str(int(number))) - 1) // 3))
    return f"{number / 1000**power:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}FLOP"


def _duration(seconds: float) -> str:
    for limit, size, unit in ((100, 1, "s"), (6000, 60, "min"), (180_000, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86400:,.0f} days"


def _table_of_phases(estimate: MemoryEstimate) -> Table:
    """A row a phase, a column a part that is in any of them."""
    of_parts = estimate.phases.values()
    parts = [name for name in (*_PARTS, "host") if any(getattr(of, name) for of in of_parts)]
    unit, scale = _unit([estimate])
    table = _empty_table(f"{unit} in")
    shown = [*(name for name in parts if name != "host"), "total", *(["host"] * ("host" in parts))]
    for name in shown:
        table.add_column(_SHORT.get(name, name), justify="right")
    for phase, of in estimate.phases.items():
        peak = " (peak)" if phase == estimate.phase else ""
        table.add_row(f"{phase}{peak}", *_cells([getattr(of, name) for name in shown], scale))
    return table


def _table_of_layouts(estimates: list[MemoryEstimate], own: Layout) -> Table:
    """A row for each way to spread training, at its peak."""
    unit, scale = _unit(estimates)
    table = _empty_table(f"{unit} a process")
    shown = ["total", *(["host"] if any(one.parts.host for one in estimates) else [])]
    for name in shown:
        table.add_column(name, justify="right")
    table.add_column("peak in", no_wrap=True)
    for one in estimates:
        mark = " *" if one.layout == own else ""
        cells = _cells([getattr(one.parts, name) for name in shown], scale)
        table.add_row(f"{_name(one.layout)}{mark}", *cells, one.phase)
    return table


def _empty_table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    table.add_column(first, no_wrap=True)
    return table


def _unit(estimates: Sequence[MemoryEstimate]) -> tuple[str, float]:
    largest = max(one.parts.total for one in estimates)
    return ("GB", 1e9) if largest >= 1e10 else ("MB", 1e6)


def _cells(numbers: Sequence[int], scale: float) -> list[str]:
    digits = 1 if scale == 1e9 else 0
    return [f"{number / scale:,.{digits}f}" if number else "-" for number in numbers]


def _name(layout: Layout) -> str:
    if layout.stage is None:
        return "plain"
    return f"ZeRO {layout.stage}" + _OFFLOADED[layout.offload]


_SHORT = {
    "gradients": "grads", "optimizer": "adam", "autoencoder": "autoenc.", "activations": "activ.",
    "runtime": "libs",
}  # fmt: skip
_OFFLOADED = {"none": "", "optimizer": " -adam", "parameters": " -all"}


def _verdict(estimates: list[MemoryEstimate], available: int) -> str:
    memory = f"{in_bytes(available)} a process"
    quality = (
        f"estimates were within {ERROR:.0%} of peaks measured on a CPU ({ERROR_OF_STAGE_3:.0%} at "
        "stage 3): NFT with LoRA, Flow-GRPO and full fine-tuning of 30M parameters, with text "
        "encoders and rewards (benchmarks/memory.py); a GPU's come from the same code, unmeasured"
    )
    best = recommend(estimates, available)
    if best is None:
        return (
            f"nothing fits {memory}: lower engine.micro_batch.train and sample, use more processes "
            f"or a policy with LoRA; {quality}"
        )
    spare = 1 - best.parts.total / available
    return f"recommended: {best.layout.recipe} (of {memory} {spare:.0%} to spare); {quality}"
