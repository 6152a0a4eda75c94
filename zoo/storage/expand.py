"""A path or a source as a person writes it: the home folder and the environment are filled in."""

import os
import re
from pathlib import Path

_VARIABLE = re.compile(r"\$\{(\w+)\}|(?<![^/])\$([A-Za-z_]\w*)(?![^/])", re.ASCII)
"""Braced, anywhere; without braces, a whole part of a path."""


def expand(written: str) -> str:
    """The text with its leading `~/`, and each `${NAME}` and each part `$NAME`, filled in.

    All else stays, other dollar signs too, and what is filled in is not looked at again.

    Raises:
        ValueError: a variable is not set or empty, or there is no home folder; with the fix.
    """
    home, rest = "", written
    if written == "~" or written.startswith("~/"):
        home, rest = _home(written), written[1:]

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise ValueError(
                f"the variable {name} of '{written}' is not set; export {name}=... first, or write "
                "the path itself"
            )
        return os.environ[name]

    return home + _VARIABLE.sub(value, rest)


def _home(written: str) -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        raise ValueError(
            f"there is no home folder for the ~ of '{written}'; export HOME=... first, or write "
            "the path itself"
        ) from None


def expand_path(written: Path) -> Path:
    """As `expand`.

    Raises:
        ValueError: it cannot be.
    """
    return Path(expand(str(written)))
