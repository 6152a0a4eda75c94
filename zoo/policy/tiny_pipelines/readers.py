"""The tokenizers and processors of a pipeline, and which text encoder reads by which."""

from collections.abc import Mapping
from typing import Any

from zoo.policy.tiny_pipelines.processors import still_processor
from zoo.policy.tiny_pipelines.tokenizers import tokenizer


def readers(found: Mapping[str, Any]) -> dict[str, Any]:
    """Tokenizers and processors, by their slots.

    Raises:
        NoTinyError: there is no tiny tokenizer of a class.
    """
    import transformers

    made = {}
    for name, cls in found.items():
        if issubclass(cls, transformers.ProcessorMixin):
            made[name] = still_processor(cls, tokenizer(transformers.Qwen2Tokenizer))
        elif name.startswith("tokenizer"):
            made[name] = tokenizer(_tokenizer_class(cls, found.get(_encoder(name))))
    return made


def words_of(made: Mapping[str, Any], encoder: str) -> Any:
    """The tokenizer of a text encoder, which may be part of a processor; nothing of others."""
    if not encoder.startswith("text_encoder"):
        return None
    own = made.get(encoder.replace("text_encoder", "tokenizer"))
    processors = (reader for name, reader in made.items() if "processor" in name)
    return plain(own if own is not None else next(processors))


def plain(reader: Any) -> Any:
    """The tokenizer of a processor, or the tokenizer itself."""
    return getattr(reader, "tokenizer", reader)


def _encoder(tokenizer_name: str) -> str:
    return tokenizer_name.replace("tokenizer", "text_encoder")


def _tokenizer_class(cls: Any, encoder: Any) -> Any:
    """The class, or where any will do, that which the text encoder is published with."""
    import transformers

    any_will_do = (
        transformers.AutoTokenizer,
        transformers.AutoProcessor,
        transformers.PreTrainedTokenizerBase,
    )
    if cls not in any_will_do:
        return cls
    name = getattr(encoder, "__name__", "")
    if "T5Encoder" in name:
        return transformers.T5Tokenizer
    qwen = name.startswith("Qwen")
    return transformers.Qwen2Tokenizer if qwen else transformers.PreTrainedTokenizerFast
