"""The command `zoo`.

Commands import what they need when they run, so `zoo --help` and `zoo list` need no torch.
"""

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import image_commands, init_command, report_commands, serving_commands
from zoo.cli.options import DEBUG, Debug, Overrides, Overwrite, Tiny, out_option
from zoo.cli.streams import outlive_readers
from zoo.terminal import say

app = typer.Typer(
    name="zoo",
    help="Train image generators with rewards: DiffusionNFT, Flow-GRPO and DPO, from YAML recipes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_RECIPE_HELP = "A recipe: its file, or its name where it comes with zoo (`zoo recipes`)."
_PROMPTS_HELP = "As in a recipe's data.train; none: the built-in ones."
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Instead of the recipe's epochs.", min=1)
]


def _show_version(wanted: bool) -> bool:
    if wanted:
        from zoo.cli.version import print_version

        print_version()
        raise typer.Exit
    return wanted


@app.callback()
def everywhere(
    debug: Debug = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version, its commit, and the plugins; then end.",
        ),
    ] = False,
) -> None:
    """Options that stand before the command."""


app.command()(init_command.init)


@app.command()
def train(
    recipe: Annotated[Path | None, typer.Argument(help=_RECIPE_HELP, show_default=False)] = None,
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
    moved: Annotated[
        bool,
        typer.Option(
            "--moved", help="With --resume: take a moved model, prompts or reward that differ."
        ),
    ] = False,
    tiny: Tiny = False,
    debug: Debug = False,
) -> None:
    """Train with a recipe, or go on with a run folder."""
    from zoo.cli.train import train as run_training

    run_training(recipe, overrides or [], epochs, resume, max_restarts, tiny=tiny, moved=moved)


@app.command()
def check(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(help="Recipes: files, or names of `zoo recipes`.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    epochs: Epochs = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            help="Instead of recipes a model of diffusers: tries all that training needs of it, "
            "with its weights; -s sets options of the policy diffusers.",
        ),
    ] = None,
    tiny: Tiny = False,
    debug: Debug = False,
) -> None:
    """Validate recipes and print what they will do; loads no weights."""
    if pipeline is not None:
        from zoo.cli.models import try_model

        try_model(pipeline, recipes or [], overrides or [])
        return
    from zoo.cli.check import check as check_recipes

    check_recipes(recipes or [], overrides or [], epochs, tiny=tiny)


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="policies, samplers, solvers, rewards, objectives, trackers or recipes; "
            "none: all but recipes."
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Import each: how long it takes, what is broken."),
    ] = False,
    debug: Debug = False,
) -> None:
    """List what is installed, plugins included; imports none of it unless verbose."""
    from zoo.cli.listing import list_installed

    list_installed(kind, verbose=verbose)


@app.command()
def describe(
    name: Annotated[
        str,
        typer.Argument(help="A component, as `zoo list` names it, or a model: OWNER/NAME, ./DIR."),
    ],
    overrides: Overrides = None,
    python: Annotated[
        str | None,
        typer.Option("--python", help="Of a reward in this Python, as isolate.python has it."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a component's description and options, or how a model of diffusers is asked."""
    from zoo.cli.listing import describe as describe_component
    from zoo.cli.listing import describe_isolated

    if "/" in name:
        from zoo.cli.models import describe_model

        describe_model(name, overrides or [])
    elif python is None:
        describe_component(name)
    else:
        describe_isolated(name, python)


@app.command()
def recipes(
    action: Annotated[
        str | None,
        typer.Argument(help="copy: write one to a file, to edit it; none: list them."),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help="The recipe to copy.", show_default=False)
    ] = None,
    out: Annotated[Path | None, out_option("The file to write; default: NAME.yaml.")] = None,
    debug: Debug = False,
) -> None:
    """List the recipes that come with zoo, what was verified and what they need; or copy one."""
    from zoo.cli.listing import recipes as list_or_copy

    list_or_copy(action, name, out)


app.command()(report_commands.compare)
app.command()(report_commands.report)
app.command()(report_commands.best)
app.command()(report_commands.votes)
app.command()(report_commands.export)
app.command(name="eval")(image_commands.evaluate)
app.command()(image_commands.sample)


@app.command()
def prompts(
    source: Annotated[str | None, typer.Argument(help=_PROMPTS_HELP)] = None,
    num: Annotated[int, typer.Option("--num", "-n", help="Prompts to print.", min=0)] = 10,
    debug: Debug = False,
) -> None:
    """Show the first prompts of a source, and how many there are of each kind."""
    from zoo.cli.prompts import show

    show(source, num)


@app.command()
def probe(
    what: Annotated[str, typer.Argument(help="A recipe, or a reward as `zoo list` names it.")],
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Compare rewards with the answers that they are known to give."""
    from zoo.cli.probe import probe as probe_rewards

    probe_rewards(what, overrides or [])


app.command()(serving_commands.serve)
app.command()(serving_commands.watch)


env = typer.Typer(help="Python environments for rewards that cannot share zoo's.")
app.add_typer(env, name="env", no_args_is_help=True)


@env.callback()
def environments(debug: Debug = False) -> None:
    """Python environments for rewards that cannot share zoo's."""


@env.command()
def create(
    plugin: Annotated[str, typer.Argument(help="What pip can install: a folder, name or wheel.")],
    out: Annotated[Path | None, out_option("The folder; default: envs/PLUGIN.")] = None,
    python: Annotated[
        str | None, typer.Option("--python", help="The interpreter; default: zoo's own.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Make an environment from a plugin's own lock, for `isolate: {python: ...}`."""
    from zoo.cli.env import create as create_environment

    create_environment(plugin, out, python)


@app.command()
def schema(
    out: Annotated[Path | None, out_option("The JSON file to write; default: print it.")] = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Write a JSON schema of recipes with all that is installed, for editors."""
    from zoo.cli.listing import schema as write_schema

    write_schema(out, overwrite=overwrite)


@app.command(name="new-plugin")
def new_plugin(
    kind: Annotated[
        str, typer.Argument(help="reward, solver, objective, policy, sampler or tracker.")
    ],
    name: Annotated[str, typer.Argument(help="What recipes will call it: my_reward.")],
    out: Annotated[Path, out_option("The folder to write it in.")] = Path(),
    debug: Debug = False,
) -> None:
    """Write a package with a component of your own, with tests, to change and install."""
    from zoo.cli.new_plugin import new_plugin as write_plugin

    write_plugin(kind, name, out)


def run() -> None:
    """Runs the command line; a user's mistake is exit code 2, a failed run 1, said in a line."""
    outlive_readers()
    # Read when these are imported: their advice is for who calls them. Bars are for a terminal.
    for library in ("TRANSFORMERS", "DIFFUSERS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    code = _run()
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

        debug = DEBUG in sys.argv
        message, trace = last_words(error, debug=debug)
        if not report(message, trace=trace):
            if debug:
                say(*traceback.format_exc().splitlines(), err=True)
            say(*(f"error: {line}" for line in lines(error)), err=True)
        return exit_code(error)
    return 0
