"""Options that several commands have."""

from typing import Annotated, Any

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override any part: -s objective.beta=0.5 (repeatable)."),
]
DEBUG, TINY = "--debug", "--tiny"
"""Looked for in the command line itself where an error is said."""


def out_option(text: str) -> Any:
    """`--out`, with what it names as its help."""
    return typer.Option("--out", "-o", help=text)


Debug = Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")]
Weights = Annotated[
    str | None,
    typer.Option(help="live, old, reference, ema or sampling; default: what the run evaluates."),
]
Checkpoint = Annotated[
    int | None, typer.Option("--epoch", help="A checkpoint's epoch; default: the last.", min=0)
]
Best = Annotated[
    bool, typer.Option("--best", help="The checkpoint with the best held-out score: see zoo best.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")]
Tiny = Annotated[
    bool,
    typer.Option(TINY, help="Random weights, few small images: to try a recipe anywhere."),
]
