"""The command lines of what answers a browser or another machine: `zoo serve` and `zoo watch`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Debug, Overrides


def serve(
    reward: Annotated[str, typer.Argument(help="A reward, as `zoo list` names it.")],
    overrides: Overrides = None,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 8100,
    token_env: Annotated[
        str | None,
        typer.Option("--token-env", help="The environment variable with the token to ask for."),
    ] = None,
    max_request: Annotated[
        int, typer.Option("--max-request", help="The most that a request may have, in MB.", min=1)
    ] = 64,
    debug: Debug = False,
) -> None:
    """Serve a reward over HTTP, for {name: remote} in recipes on other machines."""
    from zoo.cli.serve import serve as serve_reward

    serve_reward(reward, overrides or [], host, port, token_env, max_request)


def watch(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or one of runs.")] = Path("runs"),
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 8200,
    control: Annotated[
        bool, typer.Option("--control", help="The page may save and stop a run.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show runs in a browser while they go on: curves, samples, warnings, time left."""
    from zoo.cli.watch import watch as watch_runs

    watch_runs(folder, host, port, control=control)
