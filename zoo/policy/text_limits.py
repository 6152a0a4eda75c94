"""How much of a prompt CLIP and T5 read, the text encoders of SD3 and FLUX.1."""

from collections.abc import Sequence

from zoo.data.text_limit import TextLimit
from zoo.policy.pretrained import Pretrained

_CLIP_TOKENS = 77
"""That CLIP has positions for."""


def clip_and_t5(files: Pretrained, t5: str | None, max_text_tokens: int) -> Sequence[TextLimit]:
    """Of CLIP, which gives the embedding of the whole text, and of T5 by its tokenizer's part.

    Raises:
        ValueError: the model or a tokenizer cannot be had.
    """
    clip = TextLimit("CLIP", _CLIP_TOKENS, files.count_by("tokenizer"))
    if t5 is None:
        return (clip,)
    return clip, TextLimit("T5", max_text_tokens, files.count_by(t5), "max_text_tokens")
