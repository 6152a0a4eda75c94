"""What a user's mistakes have in common, and the words that their messages share."""

import difflib
from collections.abc import Sequence

from zoo.visible import visible


class UserError(Exception):
    """What the user can mend: its text says what was given, what is allowed, and the fix.

    A command prints it without a traceback and exits with 2; any other error is a failed run.
    """

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each mistake; a newline in what was given makes no other."""
        return (visible(str(self)),)


class MisfitError(ValueError):
    """An option that is right by itself and does not suit the others, which its text names.

    `loc` is where a recipe has it: ("objective", "trained_steps").
    """

    def __init__(self, loc: tuple[str | int, ...], text: str) -> None:
        """`text` says what does not fit, and the fix."""
        super().__init__(text)
        self.loc = loc


def text_of(error: BaseException) -> str:
    """All that the error says; nothing where its class cannot say it."""
    try:
        return str(error)
    # A plugin's own class may raise anything: that must not hide that there was an error.
    except (Exception, SystemExit):
        return ""


def first_line(error: BaseException) -> str:
    """What the error says first; its type where it says nothing."""
    return (text_of(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(error: BaseException) -> str:
    """The error's type and the first line that it says."""
    name, first = type(error).__name__, first_line(error)
    return name if first == name else f"{name}: {first}"


def join_lines(error: BaseException) -> str:
    """All that the error says, on one line; its type where it says nothing."""
    return " ".join(text_of(error).split()) or type(error).__name__


def closest(given: str, allowed: Sequence[str]) -> str:
    """`; did you mean 'x'?` for the most similar allowed name, or nothing."""
    match = difflib.get_close_matches(given, allowed, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""


def suggest(given: str, allowed: Sequence[str], label: str) -> str:
    """`closest`, then every allowed name after its label: `; did you mean 'x'? allowed: x, y`."""
    guess = closest(given, allowed)
    return f"{guess}{' ' if guess else '; '}{label}: {', '.join(allowed) or 'none'}"
