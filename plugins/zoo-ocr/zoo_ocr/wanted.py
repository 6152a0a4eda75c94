"""What an image is asked to say, and the form in which it is compared with what is read.

Departs from the published code: quotes may be typographic, a quote that is not closed is an error
(published: it goes to the end of the prompt), and characters of one meaning (full-width forms,
which the recogniser writes for some Latin punctuation, dashes, apostrophes) are one.
"""

import re
import unicodedata
from typing import Literal

from zoo.prompt import Prompt, PromptError

Quoted = Literal["first", "all"]

# The low quote of German opens, the English one closes it.
_QUOTED = re.compile('["\u201c\u201d\u201e]([^"\u201c\u201d\u201e]*)["\u201c\u201d]')
_ONE_MEANING = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a`\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)


def wanted_text(prompt: Prompt, *, key: str, quoted: Quoted) -> str:
    """The text that an image of the prompt must show, in normal form.

    The metadata's `key` comes first, then what the prompt has between double quotes.

    Raises:
        PromptError: the prompt has neither, or nothing but space in it.
    """
    given = prompt.metadata.get(key)
    if given is not None:
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise PromptError(
                f"the metadata {key!r} of the prompt {prompt.text!r} is of type "
                f"{type(given).__name__}; the reward 'ocr' needs a text or a whole number"
            )
        parts = [str(given)]
    else:
        parts = _QUOTED.findall(prompt.text)
    text = normal_form("".join(parts if quoted == "all" else parts[:1]))
    if not text:
        raise PromptError(
            f"the prompt {prompt.text!r} does not say which text the image must show; the reward "
            f"'ocr' needs it between double quotes, or as metadata {{{key!r}: ...}}"
        )
    return text


def normal_form(text: str) -> str:
    """Case folded, without white space, and one character for each meaning."""
    folded = unicodedata.normalize("NFKC", text).translate(_ONE_MEANING).casefold()
    return "".join(folded.split())
