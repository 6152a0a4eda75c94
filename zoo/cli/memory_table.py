"""What `zoo check` says of memory: a row for each way to spread training, and which one to use."""

import psutil
import torch
from rich.console import Console
from rich.table import Table

from zoo.footprint import NoEstimateError, footprint
from zoo.memory import ERROR, ERROR_OF_STAGE_3, Estimate, Layout, estimate, layouts, recommended
from zoo.recipe.recipe import Recipe

_PARTS = ("weights", "copies", "gradients", "optimizer", "activations", "buffers", "runtime")


def print_memory(console: Console, recipe: Recipe, processes: int) -> None:
    """Prints the estimates for this recipe on so many processes, or why there are none."""
    try:
        found = footprint(recipe, processes)
    except NoEstimateError as error:
        console.print(f"no memory estimate: {error}", markup=False)
        return
    cuda = recipe.engine.device != "cpu" and torch.cuda.is_available()
    # On CUDA what torch does not count, the context, is not counted here.
    runtime = 0 if cuda else psutil.Process().memory_info().rss
    own = Layout(recipe.engine.zero_stage, recipe.engine.offload)
    estimates = [
        estimate(
            found, layout, processes, cuda=cuda, runtime=runtime, options=recipe.engine.deepspeed
        )
        for layout in dict.fromkeys((*layouts(cuda=cuda, copies_on_host=found.copies_on_host), own))
    ]
    console.print(_table(estimates, own))
    console.print("(* this recipe; the parts are those at the peak)", style="dim", markup=False)
    console.print(_verdict(estimates, _available(processes, cuda=cuda)), markup=False)


def _table(estimates: list[Estimate], own: Layout) -> Table:
    unit, scale = ("GB", 1e9) if max(e.parts.total for e in estimates) >= 1e11 else ("MB", 1e6)
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    table.add_column(f"{unit} a process", no_wrap=True)
    headers = [*_PARTS, *(["host"] if any(each.parts.host for each in estimates) else [])]
    for part in (*headers, "total"):
        table.add_column(_SHORT.get(part, part), justify="right")
    table.add_column("peak in", no_wrap=True)
    for each in estimates:
        numbers = [getattr(each.parts, part) for part in (*headers, "total")]
        cells = [f"{number / scale:,.0f}" if number else "-" for number in numbers]
        mark = " *" if each.layout == own else ""
        table.add_row(f"{_name(each.layout)}{mark}", *cells, each.phase)
    return table


def _name(layout: Layout) -> str:
    if layout.stage is None:
        return "plain"
    return f"ZeRO {layout.stage}" + _OFFLOADED[layout.offload]


_SHORT = {"gradients": "grads", "optimizer": "adam", "activations": "activ.", "runtime": "libs"}
_OFFLOADED = {"none": "", "optimizer": " -adam", "parameters": " -all"}


def _verdict(estimates: list[Estimate], available: int) -> str:
    each = f"{_size(available)} a process"
    quality = (
        f"estimates were within {ERROR:.0%} of measured peaks, {ERROR_OF_STAGE_3:.0%} at stage 3 "
        "(benchmarks/memory.py)"
    )
    best = recommended(estimates, available)
    if best is None:
        return (
            f"nothing fits {each}: lower engine.micro_batch.train and sample, use more processes "
            f"or a policy with LoRA; {quality}"
        )
    spare = 1 - best.parts.total / available
    return f"recommended: {best.layout.recipe} (of {each} {spare:.0%} to spare); {quality}"


def _available(processes: int, *, cuda: bool) -> int:
    """Bytes for each process: a GPU's memory, or its share of what is free here."""
    if cuda:
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(psutil.virtual_memory().available) // processes


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6))} MB"
