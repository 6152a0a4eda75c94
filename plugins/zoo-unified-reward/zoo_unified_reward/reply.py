"""Reads the score out of what a language model replied; what cannot be read surely is NaN.

Departs from Flow-GRPO's parser, which looks for `Final Score:` and one digit from 1 to 5: markdown,
fractions and other spellings of the label are read; a number outside the scale, a range, a
percentage or another denominator is NaN instead of its first digit; no number is NaN instead of 0.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# Possessive: a model that repeats one digit for ever must not cost quadratic time.
_NUMBER = r"[-+]?(?:\d++(?:[.,]\d++)?+|[.,]\d++)"
_END = r"(?![\w%])(?![.,]\d)(?!\s?(?:%|percent))"
_SCORE = rf"(?P<number>{_NUMBER}){_END}(?:\s?\(?(?:/|out\sof|of)\s?(?P<most>{_NUMBER}){_END})?"
# Two numbers are a choice that was not made, or the question said again.
_ONE = r"(?! \d| ?(?:[-~,/]|to|or|and) ?\d)"
_OPENED = r"[\"'(\[{]{0,3}"
_ASSIGNED = (
    rf"\s?(?P<assigned>:|=|\bis\b|\bof\b|-(?=\s))?[\s:=]{{0,4}}{_OPENED}(?:boxed)?\s?{_OPENED}"
)

# The surest label that a reply has is the one that counts.
_LABELS = (
    r"\bfinal\s(?:score|rating)",
    r"\b(?:overall|total)\s(?:score|rating)",
    r"(?:^|[.!?{,\n])\s?[\"']?(?:(?:the|my|a|so|i give it a)\s){0,3}(?:score|rating)",
)
_NOTE = (
    r"[\"']?(?:\s?[(\[][^)\]\n]{0,40}[)\]](?=\s?[:=])|\sout\sof\s\d+(?=\s?[:=])"
    r"|\sfor\s(?:this|the)\s(?:\w+\s)?\w+(?=\s?(?:is\b|:)))?"
)
_LABELLED = tuple(
    re.compile(rf"{label}{_NOTE}{_ASSIGNED}(?:{_SCORE}{_ONE})?", re.IGNORECASE) for label in _LABELS
)
_ALONE = re.compile(rf"{_OPENED}{_SCORE}[\"')\]}}.!]{{0,3}}", re.IGNORECASE)
_FRACTION = re.compile(
    rf"(?<![\w.,/])(?P<number>{_NUMBER})\s?(?:/|out\sof)\s?(?P<most>{_NUMBER}){_END}",
    re.IGNORECASE,
)

_VULGAR = str.maketrans({"½": ".5", "¼": ".25", "¾": ".75"})
# Hyphens, dashes and the minus sign; quotation marks; the fraction slash.
_TYPOGRAPHY = {code: "-" for code in (*range(0x2010, 0x2016), 0x2212)} | {
    0x2019: "'",
    0x201C: '"',
    0x201D: '"',
    0x2044: "/",
}
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>\n]{0,30}>", re.IGNORECASE)
_MARKUP = re.compile(r"[*`#~$\\\u200b\u200e\u200f\ufeff]|\btext(?:bf)?(?=\{)")


@dataclass(frozen=True)
class Scale:
    """The scores that a model is asked for."""

    lowest: float = 1.0
    highest: float = 5.0

    def __post_init__(self) -> None:
        """Refuses a scale without a range, or with negative numbers."""
        if not 0 <= self.lowest < self.highest < math.inf:
            raise ValueError(
                f"a scale from {self.lowest:g} to {self.highest:g} cannot be used; "
                "write 0 <= lowest < highest"
            )


def read_score(
    reply: str, scale: Scale, *, pattern: re.Pattern[str] | None = None, complete: bool = True
) -> float:
    """The score that a reply gives, within the scale; NaN where it is not plain which, or none.

    Of several after the surest label the last counts. `pattern` has one group, the number, and
    replaces the reading of labels; its last match counts. A reply that is not `complete` may have
    lost digits: a number at its very end is not believed.
    """
    if pattern is not None:
        numbers = [match.group(1) or "" for match in pattern.finditer(reply)]
        return _within(scale, numbers[-1]) if numbers else math.nan
    text = _plain(reply)
    match = _answer(text, scale)
    if match is None or (not complete and match.end() == len(text)):
        return math.nan
    if not match["number"] or (match["most"] and _value(match["most"]) != scale.highest):
        return math.nan
    return _within(scale, match["number"])


def _answer(text: str, scale: Scale) -> re.Match[str] | None:
    """The place that gives the score: after a label, else all of the reply, else one fraction."""
    for label in _LABELLED:
        # "The final score reflects both" names the score and gives none.
        given = [m for m in label.finditer(text) if m["assigned"] or m["number"]]
        if given:
            return given[-1]
    alone = _ALONE.fullmatch(text)
    if alone:
        return alone
    fractions = list(_fractions(text, scale))
    return fractions[0] if len({_value(match["number"]) for match in fractions}) == 1 else None


def _fractions(text: str, scale: Scale) -> Iterator[re.Match[str]]:
    for match in _FRACTION.finditer(text):
        if _value(match["most"]) == scale.highest:
            yield match


def _plain(reply: str) -> str:
    """Without thoughts, markup, typographic variants and more than one space or line end."""
    text = _THOUGHT.sub(" ", reply.translate(_VULGAR))
    text = unicodedata.normalize("NFKC", text).translate(_TYPOGRAPHY)
    text = _MARKUP.sub("", _TAG.sub(" ", text)).replace("_", " ")
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def _value(number: str) -> float:
    """A decimal number; a comma is a decimal comma unless three digits follow it."""
    if re.search(r",\d{3}$", number):
        number = number.replace(",", "")
    try:
        return float(number.replace(",", "."))
    except ValueError:
        return math.nan


def _within(scale: Scale, number: str) -> float:
    value = _value(number)
    return value if scale.lowest <= value <= scale.highest else math.nan


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression with one group, around the number.

    Raises:
        ValueError: it is none, or has no group or several.
    """
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is not a regular expression: {error}") from error
    if found.groups != 1:
        raise ValueError(
            f"the pattern {pattern!r} has {found.groups} groups; "
            "it needs one, around the number: write (?:...) for the others"
        )
    return found
