"""Tokenizers of the published classes, with few tokens: letters, bytes and syllables.

Pipelines cut off the tokens of the instructions that they write before a prompt, by a count that
is right for the published tokenizers, and what is too long. With syllables neither cuts off the
prompt.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.policy.tiny import clip_tokenizer, t5_tokenizer
from zoo.policy.tiny_pipelines.known import NoTinyError

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<think>",
    "</think>",
)
"""Of a byte-level tokenizer: those of Qwen, whose names the others' chat template has here."""

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A conversation as Qwen writes it, whose messages are texts or parts."""

_LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]

_SYLLABLES = 512
_TEXT = (
    "You are a helpful assistant. Describe the image or the video by the following aspects: the "
    "main content and theme, the color, shape, size, texture, quantity, text, the spatial "
    "relationships of the objects, and their background. Then explain how the prompt of the "
    "user should alter or modify the input image. Generate a new image that meets the "
    "requirements while maintaining consistency with the original input where appropriate. "
    "Actions, events, behaviors, temporal relationships, physical movement changes of objects, "
    "environment, light, style, atmosphere, camera angles, movements, and transitions used in "
    "it. Given a user prompt, an enhanced prompt that provides detailed visual descriptions "
    "suitable for image generation. Evaluate the level of detail: if it is simple, focus on "
    "adding specifics about colors, shapes, sizes, textures. You are a prompt engineer. "
    "Describe how the camera moves or shakes, describe the zoom and view angle, whether it "
    "follows the objects, the location, main characters and their action. Name the visual style "
    "of the video: professional footage, user generated content, animation, game. Pay attention "
    "to the order of key actions shown in the scene."
)
"""The words of such instructions: tokens of several letters are learned from it."""


def tokenizer(cls: Any) -> Any:
    """A tokenizer of that class of transformers, with a chat template where it may need one.

    Raises:
        NoTinyError: there is none here of that class.
    """
    for base in cls.__mro__:
        if base.__name__ in _MADE:
            return _MADE[base.__name__](cls)
    raise NoTinyError(f"none of its tokenizer's class {cls.__name__}")


def _byte_pairs() -> dict[str, Any]:
    """Bytes and syllables, and how syllables are put together."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    return _with_syllables(SPECIAL, alphabet, ByteLevel(add_prefix_space=False))


def _with_syllables(special: Sequence[str], alphabet: Sequence[str], words: Any) -> dict[str, Any]:
    from tokenizers import Tokenizer, models, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = words
    size = len(alphabet) + _SYLLABLES
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(alphabet), show_progress=False
    )
    learner.train_from_iterator([_TEXT], trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = dict.fromkeys([*special, *alphabet, *map("".join, merges)])
    return {"vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges}


def _qwen(cls: Any) -> Any:
    words = cls(
        **_byte_pairs(),
        eos_token="<|im_end|>",
        extra_special_tokens=list(SPECIAL),
        model_max_length=8192,
    )
    words.chat_template = CHAT
    return words


def _byte_level(cls: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    model = Tokenizer(models.BPE(**_byte_pairs()))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    words = cls(
        tokenizer_object=model,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=list(SPECIAL),
        model_max_length=8192,
    )
    words.chat_template = CHAT
    return _with_start(words)


def _with_start(words: Any) -> Any:
    """A text without a letter has a token too, as with the published tokenizers."""
    from tokenizers import processors

    start = words.bos_token
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A",
        pair=f"{start} $A $B",
        special_tokens=[(start, words.bos_token_id)],
    )
    return words


def _sentence_pieces(*special: str) -> dict[str, Any]:
    """Letters and syllables, and bytes for all others."""
    from tokenizers.pre_tokenizers import Metaspace

    codes = [f"<0x{code:02X}>" for code in range(256)]
    return _with_syllables((*special, *codes), ["▁", "\n", *_LETTERS], Metaspace())


def _gemma(cls: Any) -> Any:
    pieces = _sentence_pieces("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    words = cls(**pieces, model_max_length=8192)
    words.chat_template = CHAT
    return _with_start(words)


def _llama(cls: Any) -> Any:
    pieces = _sentence_pieces("<unk>", "<s>", "</s>", "<pad>", "<image>")
    return _with_start(cls(**pieces, pad_token="<pad>", model_max_length=8192))


def _bert(cls: Any) -> Any:
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokens = [*special, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    return cls(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=77)


_MADE: Mapping[str, Callable[[Any], Any]] = {
    "CLIPTokenizer": lambda cls: clip_tokenizer(),
    "T5Tokenizer": lambda cls: t5_tokenizer(),
    "ByT5Tokenizer": lambda cls: cls(),
    "Qwen2Tokenizer": _qwen,
    "GemmaTokenizer": _gemma,
    "LlamaTokenizer": _llama,
    "BertTokenizer": _bert,
    "TokenizersBackend": _byte_level,
}
