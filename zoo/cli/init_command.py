"""The command line of `zoo init`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Debug


def init(
    file: Annotated[
        Path | None,
        typer.Argument(help="The file to write; default: my_MODEL.yaml.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="digits, scenes, sd3, flux, or OWNER/NAME.")
    ] = None,
    reward: Annotated[
        list[str] | None,
        typer.Option("--reward", help="What should get better: see zoo list rewards (repeatable)."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", help="How many GPUs; 0: a CPU.", min=0)
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option("--gpu-memory", help="GB of memory of each GPU.", min=1)
    ] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", help="How long it may take.", min=0.01)
    ] = None,
    algorithm: Annotated[str, typer.Option("--algorithm", help="See zoo list objectives.")] = "nft",
    full: Annotated[
        bool, typer.Option("--full", help="Train the whole network, not a LoRA.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write a commented recipe that fits your GPUs; asks for what is not given."""
    from zoo.cli.init import Given
    from zoo.cli.init import init as write_recipe

    given = Given(model, tuple(reward or ()), gpus, gpu_memory, hours, full, algorithm)
    write_recipe(file, given)
