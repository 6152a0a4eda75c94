"""Prompts as CLIP's tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward import hub

# A CLIPConfig that says 2 is older than transformers 4.31; the text is then read at its highest
# token, which is the last of the vocabulary.
_OLD_END = 2


class Tokens:
    """CLIP's tokenizer, which fits a text encoder."""

    def __init__(self, source: str, config: Any, *, fix: str) -> None:
        """`config` is the encoder's, a CLIPTextConfig; `fix` names a tokenizer that fits.

        Raises:
            ValueError: there is no such tokenizer, or it is of another vocabulary.
        """
        self._tokenizer = _load(source, fix)
        self._num = config.max_position_embeddings
        found, last = len(self._tokenizer), self._tokenizer.eos_token_id
        if found != config.vocab_size:
            raise ValueError(
                f"the tokenizer {source!r} has {found} tokens, and the model is of "
                f"{config.vocab_size}; {fix}"
            )
        wanted = found - 1 if config.eos_token_id == _OLD_END else config.eos_token_id
        if last != wanted:
            raise ValueError(
                f"the tokenizer {source!r} ends a text with token {last}, and the model reads it "
                f"at token {wanted}; {fix}"
            )

    def __call__(self, prompts: Sequence[Prompt]) -> Int[Tensor, "batch tokens"]:
        """As many tokens as the model reads, 77 of a published one: cut off, or filled up."""
        # Always so many: a score must not depend on the batch. What fills up comes after the token
        # that the text is read at, which sees nothing after itself.
        tokens = self._tokenizer(
            [prompt.text for prompt in prompts],
            padding="max_length",
            truncation=True,
            max_length=self._num,
        )
        return torch.tensor(tokens["input_ids"])


def _load(source: str, fix: str) -> Any:
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(source)
    # The tokenizers library raises bare Exceptions about broken files.
    except Exception as error:
        raise hub.refusal("tokenizer", source, error, fix=fix) from error
    # transformers makes one of its few special tokens where it finds no files.
    if len(tokenizer) <= 3:
        raise ValueError(f"the tokenizer {source!r} has no vocabulary, here or on the hub; {fix}")
    return tokenizer
