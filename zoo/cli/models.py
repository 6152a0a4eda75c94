"""`zoo describe MODEL` and `zoo check --pipeline MODEL`: a model of diffusers, as it is asked."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import typer
from rich.table import Table

from zoo import devices
from zoo.errors import TRY_TINY, UserError, join_lines
from zoo.policy.base import EXACT
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.trial import try_pipeline
from zoo.prompt import ImageBytes, Prompt
from zoo.recipe.recipe import single_policy
from zoo.terminal import Terminal

_TEXTS = ("a red cat on a mat", "two dogs")


def describe_model(model: str, overrides: Sequence[str]) -> None:
    """Prints how its pipeline is asked and what reaches its networks; reads no weights."""
    policy = _load(model, overrides, torch.device("meta"))
    _print({key: found for key, found in policy.findings().items() if key != EXACT})


def try_model(model: str, recipes: Sequence[Path], overrides: Sequence[str]) -> None:
    """Tries all that training needs of it; exit code 1 where something does not hold."""
    if recipes:
        raise UserError("name recipes or --pipeline MODEL, not both")
    device = devices.default_device()
    devices.let_memory_grow(device)
    policy = _load(model, overrides, device)
    trial = try_pipeline(policy, prompts_for(policy))
    _print(trial.cells())
    if not trial.holds:
        raise typer.Exit(1)


def _load(model: str, overrides: Sequence[str], device: torch.device) -> Diffusers:
    policy = single_policy("diffusers", {"pretrained": model}, overrides)
    try:
        built = policy.build({"device": device})
    except UserError as error:
        # There is no recipe that could be tried without the model.
        raise UserError(join_lines(error).replace(TRY_TINY, "")) from error
    assert isinstance(built, Diffusers)
    return built


def prompts_for(policy: Diffusers) -> tuple[Prompt, Prompt]:
    """Two to try a model with, and pictures of two colours where it is given some."""
    colours = ("red", "blue")
    first, second = (
        Prompt(text, inputs=(_picture(colour),) * policy.num_inputs)
        for text, colour in zip(_TEXTS, colours, strict=True)
    )
    return first, second


def _picture(colour: str) -> ImageBytes:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (256, 256), colour).save(file, "PNG")
    return ImageBytes(f"a {colour} picture", file.getvalue())


def _print(found: Mapping[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, text in _lines(found):
        table.add_row(name, text)
    Terminal().print(table)


def _lines(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """A line a fact, those of a network below its name."""
    for key, value in found.items():
        if isinstance(value, Mapping):
            yield f"{before}{key}", "" if value else "-"
            yield from _lines(value, f"{before}  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, each in enumerate(value, start=1):
                yield f"{before}{key}, call {number} of a step", ""
                yield from _lines(each, f"{before}  ")
        else:
            yield f"{before}{key}", _shown(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
