"""The address of a server that scores images, as a recipe may name it."""

from urllib.parse import SplitResult, urlsplit


def parse_address(url: str, *, path: str, write: str, secret: str) -> SplitResult:
    """The parts of an http address, which holds no user or password.

    `path` is what may follow the port, `write` an example, and `secret` says where a key belongs.

    Raises:
        ValueError: it is none; with what to write.
    """
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"the url {url!r} cannot be read; write url: {write}") from None
    # Before anything that shows the url.
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"the url of {parts.hostname} holds a user or password, and a run's folder would keep "
            f"it; write url: {write}, and {secret}"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise ValueError(
            f"the url {url!r} is not of the form http(s)://HOST[:PORT]{path}; write url: {write}"
        )
    return parts


def is_spaced(url: str) -> bool:
    """Whether it has a space, or a character that does not print."""
    return any(char.isspace() or not char.isprintable() for char in url)
