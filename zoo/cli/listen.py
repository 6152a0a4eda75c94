"""What commands that serve share: their packages, their address, and running until Ctrl-C."""

import socket
from importlib.util import find_spec
from typing import Any

from zoo.errors import UserError, reason

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that only this machine reaches."""


def require_packages(command: str) -> None:
    """Raises UserError where what serves is not installed."""
    missing = [package for package in ("starlette", "uvicorn") if find_spec(package) is None]
    if missing:
        raise UserError(
            f"{command} needs {' and '.join(missing)}; pip install 'diffusion-rl-zoo[serve]'"
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket at that address.

    Raises:
        UserError: there can be none.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--host {host} --port {port}: cannot listen there: {reason(error)}; "
            "choose another port, or an address of this machine"
        ) from error


def serve_until_interrupted(application: Any, listening: socket.socket) -> None:
    """Answers at the socket, and closes it."""
    import uvicorn

    from zoo.reward.outside.connections import config

    try:
        uvicorn.Server(config(application)).run(sockets=[listening])
    except KeyboardInterrupt:
        # uvicorn has ended in good order, and then passes the signal on.
        return
    finally:
        listening.close()
