"""Where the server is, and what may be asked of it: the part of a recipe about the connection."""

import os
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from annotated_types import Ge, Gt

from zoo.reward.outside.address import is_spaced, parse_address

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to `connect`, for one `request` from start to end, for a batch in `total`.

    `total` includes retries and their waits; keep it below `scoring.timeout`, after which zoo gives
    the whole batch up.
    """

    connect: Annotated[float, Gt(0)] = 10.0
    request: Annotated[float, Gt(0)] = 90.0
    total: Annotated[float, Gt(0)] = 270.0


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again after a failure that may pass.

    `wait` is the seconds before the first of them, doubled each time up to 30 and scattered by a
    factor of 0.5 to 1.5; a server's Retry-After is kept where it asks for longer.
    """

    count: Annotated[int, Ge(0)] = 4
    wait: Annotated[float, Ge(0)] = 0.5


@dataclass(frozen=True)
class Server:
    """A checked address with its key; the key is in no representation of it."""

    url: str
    timeouts: Timeouts
    retries: Retries
    max_in_flight: int

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, where no proxy leads."""
        return urlsplit(self.url).hostname in LOOPBACK


def checked_url(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        ValueError: it is not the base of an OpenAI-compatible API, or holds a password.
    """
    write = "http://HOST:PORT/v1"
    parts = parse_address(
        url,
        path="/PATH",
        write=write,
        secret="name an environment variable with the key as api_key_env",
    )
    if parts.query or parts.fragment or is_spaced(url):
        raise ValueError(f"the url {url!r} has a query, fragment or space; write url: {write}")
    base = url.rstrip("/")
    if base.endswith("/chat/completions"):
        raise ValueError(
            f"the url {url!r} is that of one endpoint; leave out '/chat/completions': "
            f"write url: {write}"
        )
    return base


def key_from(variable: str | None) -> str | None:
    """The API key in an environment variable, if one is named.

    Raises:
        ValueError: the variable is not set, or holds no key; the message does not show it.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(
            f"api_key_env names the environment variable {_show(variable)}, which is not set or "
            "is empty; export it before the run, or leave api_key_env out if the server needs none"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            f"the environment variable {_show(variable)} holds no API key: it has characters that "
            "a key cannot have; export the key alone"
        )
    return key


def _show(variable: str) -> str:
    """A variable's name; not shown if it is no name, since it may be the key itself."""
    return repr(variable) if variable.isidentifier() and len(variable) <= 40 else "(not a name)"
