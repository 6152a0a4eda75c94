"""`zoo serve`: one reward behind HTTP, for `{name: remote}` in recipes elsewhere."""

import os
import socket
from importlib.util import find_spec

from zoo import devices
from zoo.errors import UserError
from zoo.recipe.recipe import single_reward
from zoo.recipe.sections import Scoring
from zoo.reward.known_answers import require_known_answers
from zoo.reward.outside.server import Served, application
from zoo.terminal import say

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    name: str, overrides: list[str], host: str, port: int, token_env: str | None, max_request: int
) -> None:
    """Builds the reward and answers until Ctrl-C; `max_request` is in MB.

    Raises:
        UserError: the name, an option, the address or the token cannot be used.
        RewardError: the reward does not give its known answers.
    """
    _require_packages()
    token = _token(host, token_env)
    listening = _listening(host, port)
    try:
        device = devices.default_device()
        entry = single_reward(name, overrides)
        reward = entry.build({"device": device})
        require_known_answers(reward, entry.label, device, Scoring().timeout)
    except BaseException:
        listening.close()
        raise
    served = Served(reward, entry.name, device, token, max_request << 20)
    say(*_welcome(served, host, listening.getsockname()[1], token_env))
    _run(served, listening)
    say("ended")


def _run(served: Served, listening: socket.socket) -> None:
    import uvicorn

    from zoo.reward.outside.connections import config

    try:
        uvicorn.Server(config(application(served))).run(sockets=[listening])
    except KeyboardInterrupt:
        # uvicorn has ended in good order, and then passes the signal on.
        return
    finally:
        listening.close()


def _require_packages() -> None:
    missing = [package for package in ("starlette", "uvicorn") if find_spec(package) is None]
    if missing:
        raise UserError(
            f"zoo serve needs {' and '.join(missing)}; pip install 'diffusion-rl-zoo[serve]'"
        )


def _token(host: str, variable: str | None) -> str | None:
    if variable is None:
        if host not in _LOOPBACK:
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


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise UserError(
            f"--host {host} --port {port}: cannot listen there: {why or error}; "
            "choose another port, or an address of this machine"
        ) from error


def _welcome(served: Served, host: str, port: int, token_env: str | None) -> tuple[str, str]:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    token = f", token_env: {token_env}" if token_env else ""
    return (
        f"serving '{served.name}' on {served.device} at {address}; Ctrl-C ends it",
        f"in a recipe: rewards: [{{name: remote, url: '{address}'{token}, label: {served.name}}}]",
    )
