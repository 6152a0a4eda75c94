"""What a user's mistakes have in common, and the words that their messages share."""

import difflib
from collections.abc import Sequence


class UserError(Exception):
    """What the user can mend: its text says what was given, what is allowed, and the fix.

    A command prints it without a traceback and exits with 2; any other error is a failed run.
    """


class MisfitError(ValueError):
    """An option that is right by itself and does not suit the others, which its text names.

    `loc` is where a recipe has it: ("objective", "trained_steps").
    """

    def __init__(self, loc: tuple[str | int, ...], text: str) -> None:
        """`text` says what does not fit, and the fix."""
        super().__init__(text)
        self.loc = loc


def first_line(error: BaseException) -> str:
    """What the error says first; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(error: BaseException) -> str:
    """The error's type and the first line that it says."""
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if str(error).strip() else name


def join_lines(error: BaseException) -> str:
    """All that the error says, on one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def closest(given: str, allowed: Sequence[str]) -> str:
    """`; did you mean 'x'?` for the most similar allowed name, or nothing."""
    match = difflib.get_close_matches(given, allowed, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""


def suggest(given: str, allowed: Sequence[str], label: str) -> str:
    """`closest`, then every allowed name after its label: `; did you mean 'x'? allowed: x, y`."""
    guess = closest(given, allowed)
    return f"{guess}{' ' if guess else '; '}{label}: {', '.join(allowed) or 'none'}"
