"""`zoo serve`: one reward behind HTTP, for `{name: remote}` in recipes elsewhere."""

import os
import socket

from zoo import devices
from zoo.cli.listen import LOOPBACK, listen, require_packages, serve_until_interrupted
from zoo.errors import UserError
from zoo.recipe.recipe import single_reward
from zoo.recipe.sections import Scoring
from zoo.reward.known_answers import require_known_answers
from zoo.reward.outside.server import Served, application
from zoo.terminal import say


def serve(
    name: str, overrides: list[str], host: str, port: int, token_env: str | None, max_request: int
) -> None:
    """Builds the reward and answers until Ctrl-C; `max_request` is in MB.

    Raises:
        UserError: the name, an option, the address or the token cannot be used.
        RewardError: the reward does not give its known answers.
    """
    require_packages("zoo serve")
    token = _token(host, token_env)
    listening = listen(host, port)
    try:
        device = devices.default_device()
        devices.let_memory_grow(device)
        entry = single_reward(name, overrides)
        reward = entry.build({"device": device})
        require_known_answers(reward, entry.label, device, Scoring().timeout)
    except BaseException:
        listening.close()
        raise
    served = Served(reward, entry.name, device, token, max_request << 20)
    say(*_welcome(served, host, listening.getsockname()[1], token_env))
    serve_until_interrupted(application(served), listening)
    say("ended")


def _token(host: str, variable: str | None) -> str | None:
    if variable is None:
        if host not in LOOPBACK:
            raise UserError(
                f"--host {host}: other machines could use the reward without a token; export one "
                "(openssl rand -hex 16) and name its variable: --token-env ZOO_TOKEN"
            )
        return None
    token = os.environ.get(variable, "").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"--token-env {variable}: this environment variable holds no token; export one: "
            f"export {variable}=$(openssl rand -hex 16)"
        )
    return token


def _welcome(served: Served, host: str, port: int, token_env: str | None) -> tuple[str, str]:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    token = f", token_env: {token_env}" if token_env else ""
    return (
        f"serving '{served.name}' on {served.device} at {address}; Ctrl-C ends it",
        f"in a recipe: rewards: [{{name: remote, url: '{address}'{token}, label: {served.name}}}]",
    )
