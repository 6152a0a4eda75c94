"""A tokenizer of CLIP's kind whose tokens are the words of the scenes' prompts."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from zoo.data.scenes.prompts import every

START, END = "<|startoftext|>", "<|endoftext|>"

_LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
_CLOSING = "</w>"


def tokenizer() -> Any:
    """Reads the longest prompt, with a start and an end; a word it does not know is spelt out."""
    from transformers import CLIPTokenizer

    texts = [prompt.text.split() for prompt in every()]
    words = sorted({word for text in texts for word in text})
    merges = merges_of(words)
    made = ["".join(pair) for pair in merges]
    known = [START, END, *_LETTERS, *(letter + _CLOSING for letter in _LETTERS), *made]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(known))}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        pad_token=END,
        model_max_length=2 + max(map(len, texts)),
    )


def merges_of(words: Iterable[str]) -> list[tuple[str, str]]:
    """Merges that make a token of each word.

    Byte-pair encoding merges the pair that is first in the list, so a merge that is added last
    changes no word that is one token already.
    """
    merges: list[tuple[str, str]] = []
    for word in words:
        parts = merged([*word[:-1], word[-1] + _CLOSING], merges)
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = merged(parts, merges)
    return merges


def merged(parts: Sequence[str], merges: Sequence[tuple[str, str]]) -> list[str]:
    """The tokens of a word that is given as letters."""
    rank = {pair: i for i, pair in enumerate(merges)}
    tokens = list(parts)
    while found := [pair for pair in pairwise(tokens) if pair in rank]:
        first = min(found, key=lambda pair: rank[pair])
        at = list(pairwise(tokens)).index(first)
        tokens[at : at + 2] = ["".join(first)]
    return tokens
