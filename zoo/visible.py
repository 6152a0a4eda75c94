"""Text that others wrote, made visible: what would steer a terminal or a page is shown instead.

Escaped are control characters (an escape sequence clears a screen, a newline forges a line), the
ones that turn the direction of writing, line separators, and halves of surrogate pairs, which no
file in UTF-8 can hold. Joiners stay: emoji and several scripts are written with them.
"""

import re

_STEERING = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""The text on one line, each such character as Python writes it: `\x1b`, `\n`, `\u202e`."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_lines(text: str) -> str:
    """The same, with its lines as they are."""
    return "\n".join(map(visible, text.split("\n")))
