"""How much of a prompt each text encoder of a pipeline reads; no weights are loaded for it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.data.text_limit import TextLimit, counted_by
from zoo.policy.pipeline.parts import files_of, keywords_of, pipeline_class
from zoo.policy.pretrained import Pretrained

_KEYWORD = "max_sequence_length"
_ENDLESS = 1_000_000
"""Tokenizers say a larger number where they know of no limit."""


def limits_of(options: Mapping[str, Any]) -> Sequence[TextLimit]:
    """Of each tokenizer of the pipeline that a policy's options name.

    CLIP's reads what it was trained on. Others read what the pipeline's call is told, and where it
    is told nothing what they say themselves. What a pipeline adds to a prompt is not counted.

    Raises:
        ValueError: the model or a tokenizer cannot be had.
    """
    files = files_of(options)
    cls = pipeline_class(files, options["pipeline"])
    told = options["max_text_tokens"] or (options["call"] or {}).get(_KEYWORD)
    told = told or keywords_of(cls).get(_KEYWORD)
    limits = _limits(files, told if isinstance(told, int) else None)
    absent = {*options["without"]}
    return [limit for limit in limits if not {limit.encoder, _encoder(limit.encoder)} & absent]


def _encoder(tokenizer: str) -> str:
    """The part that reads what a tokenizer makes."""
    return tokenizer.replace("tokenizer", "text_encoder")


def _limits(files: Pretrained, told: int | None) -> Iterator[TextLimit]:
    import transformers

    for part, named in files.index().items():
        kind = str(named[1]) if isinstance(named, list) and len(named) == 2 else ""
        if "Tokenizer" not in kind:
            continue
        loaded = getattr(transformers, kind, None)
        if loaded is None:  # Of another library: what it reads is not known.
            continue
        tokenizer = files.load(loaded, part)
        own = tokenizer.model_max_length
        if told is not None and not kind.startswith("CLIP"):
            yield TextLimit(part, told, counted_by(tokenizer), "max_text_tokens")
        elif own < _ENDLESS:
            yield TextLimit(part, own, counted_by(tokenizer))
