"""The command `zoo`.

Commands import what they need when they run, so `zoo --help` and `zoo list` need no torch.
"""

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="zoo",
    help="Train image generators with rewards: DiffusionNFT, Flow-GRPO and DPO, from YAML recipes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Recipe = Annotated[Path, typer.Argument(help="A recipe, as in recipes/.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override any part: -s objective.beta=0.5 (repeatable)."),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Instead of the recipe's epochs.", min=1)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe, as in recipes/.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    epochs: Epochs = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="Go on with this run folder.", show_default=False),
    ] = None,
    max_restarts: Annotated[
        int,
        typer.Option(
            "--max-restarts", help="After a failure go on from the last checkpoint.", min=0
        ),
    ] = 0,
    debug: Debug = False,
) -> None:
    """Train with a recipe, or go on with a run folder."""
    from zoo.cli.train import train as run_training

    run_training(recipe, overrides or [], epochs, resume, max_restarts)


@app.command()
def check(
    recipes: Annotated[
        list[Path], typer.Argument(help="Recipes, as in recipes/.", show_default=False)
    ],
    overrides: Overrides = None,
    epochs: Epochs = None,
    debug: Debug = False,
) -> None:
    """Validate recipes and print what they will do; loads no weights."""
    from zoo.cli.check import check as check_recipes

    check_recipes(recipes, overrides or [], epochs)


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="policies, samplers, solvers, rewards or objectives; none: all."),
    ] = None,
    debug: Debug = False,
) -> None:
    """List what is installed, plugins included; imports none of it."""
    from zoo.cli.listing import list_installed

    list_installed(kind)


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="A component, as `zoo list` names it.")],
    debug: Debug = False,
) -> None:
    """Show a component's description and its options."""
    from zoo.cli.listing import describe as describe_component

    describe_component(name)


Weights = Annotated[
    str | None,
    typer.Option(help="live, old, reference or ema; default: what the run evaluates."),
]
Checkpoint = Annotated[
    int | None, typer.Option("--epoch", help="A checkpoint's epoch; default: the last.", min=0)
]


@app.command(name="eval")
def evaluate(
    source: Annotated[
        Path, typer.Argument(help="A run folder, or a recipe for the model as it is.")
    ],
    overrides: Overrides = None,
    epoch: Checkpoint = None,
    weights: Weights = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Save the picture as this PNG.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Evaluate a run's checkpoint as its recipe's `eval` says."""
    from zoo.cli.images import evaluate as evaluate_run

    evaluate_run(source, overrides or [], epoch, weights, out)


@app.command()
def sample(
    source: Annotated[
        Path, typer.Argument(help="A run folder, or a recipe for the model as it is.")
    ],
    prompt: Annotated[list[str], typer.Option("--prompt", "-p", help="What to show (repeatable).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG to write.")] = Path(
        "samples.png"
    ),
    num: Annotated[int, typer.Option("--num", "-n", help="Images of each prompt.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    overrides: Overrides = None,
    epoch: Checkpoint = None,
    weights: Weights = None,
    debug: Debug = False,
) -> None:
    """Make images with a run's checkpoint and its evaluation's solver."""
    from zoo.cli.images import sample as sample_run

    sample_run(source, overrides or [], epoch, weights, prompt, num, seed, out)


@app.command()
def export(
    run_dir: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder to write; an earlier export goes.")
    ],
    form: Annotated[str, typer.Option("--format", help="diffusers or peft.")] = "diffusers",
    epoch: Checkpoint = None,
    weights: Weights = None,
    debug: Debug = False,
) -> None:
    """Write a run's weights as the files that diffusers or PEFT load."""
    from zoo.cli.export import export as export_run

    export_run(run_dir, out, form, epoch, weights)


def run() -> None:
    """Runs the command line; a user's mistake is exit code 2, a failed run 1, said in a line."""
    code = _run()
    sys.stdout.flush()
    sys.stderr.flush()
    if "torch.distributed.distributed_c10d" in sys.modules:
        # The threads of torch's process store sometimes abort the interpreter's shutdown (2.13),
        # and a run that ended well would look as if it had failed.
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    """The exit code, with errors said."""
    try:
        app(standalone_mode=True)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except Exception as error:
        from zoo.cli.errors import exit_code, last_words, lines
        from zoo.engine.launch import report

        debug = "--debug" in sys.argv
        message, trace = last_words(error, debug=debug)
        if not report(message, trace=trace):
            if debug:
                traceback.print_exc()
            for line in lines(error):
                typer.echo(f"error: {line}", err=True)
        return exit_code(error)
    return 0
