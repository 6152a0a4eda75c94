"""How much of a prompt a text encoder reads: what is longer is cut, and two prompts may be one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Count = Callable[[Sequence[str]], Sequence[int]]
"""The tokens of each text, uncut, with those that begin and end it."""


@dataclass(frozen=True)
class TextLimit:
    """An encoder by its name, the tokens that it reads of a prompt, and how these are counted.

    `option` is the recipe's that moves the limit, relative to the component: `max_text_tokens`.
    """

    encoder: str
    tokens: int
    count: Count
    option: str | None = None


def counted_by(tokenizer: Any) -> Count:
    """By a tokenizer of transformers."""

    def count(texts: Sequence[str]) -> Sequence[int]:
        # A text that is too long is what is looked for: no warning of it.
        read = tokenizer(list(texts), return_attention_mask=False, verbose=False)
        return [len(ids) for ids in read["input_ids"]]

    return count
