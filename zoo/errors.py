"""What a user's mistakes have in common, the words that messages share, and others' text in them.

Text that others wrote is made visible: what would steer a terminal or a page is shown instead.
Escaped are control characters (an escape sequence clears a screen, a newline forges a line), the
ones that turn the direction of writing, line separators, and halves of surrogate pairs, which no
file in UTF-8 can hold. Joiners stay: emoji and several scripts are written with them.
"""

import difflib
import re
from collections.abc import Sequence

_STEERING = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


TRY_TINY = "; to try the recipe without it: --tiny"
"""The end of an error's line that a try on random weights would not have."""


def visible(text: str) -> str:
    r"""The text on one line, each such character as Python writes it: `\x1b`, `\n`, `\u202e`."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_lines(text: str) -> str:
    """The same, with its lines as they are."""
    return "\n".join(map(visible, text.split("\n")))


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


def reason(error: BaseException) -> str:
    """What the system says of it, without a number and a path; all that it says if that is none."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


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
