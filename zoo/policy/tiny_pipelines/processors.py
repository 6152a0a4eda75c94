"""Processors of texts and pictures for the models that read both.

Diffusers loads a component by its module and its class, for which this module has transformers'
base class by its own name.
"""

from typing import Any

from transformers import ProcessorMixin, Qwen2VLProcessor

from zoo.policy.tiny_pipelines.shrink import SIDE


class StillProcessor(Qwen2VLProcessor):  # type: ignore[misc]
    """Qwen's, without the part for videos, which needs torchvision."""

    def __init__(
        self, image_processor: Any, tokenizer: Any, chat_template: str | None = None
    ) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        # Transformers hands the template over by the names in the function's code alone, which is
        # another's where the function is wrapped.
        template = chat_template or tokenizer.chat_template
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=template)


def still_processor(cls: Any, words: Any) -> Any:
    """In place of a processor of that class: few pixels of a picture are read."""
    from transformers import Qwen2VLImageProcessor

    pictures = Qwen2VLImageProcessor(
        patch_size=16 if cls.__name__.startswith("Qwen3") else 14,
        size={"shortest_edge": SIDE * SIDE // 4, "longest_edge": SIDE * SIDE},
    )
    return StillProcessor(pictures, words, chat_template=words.chat_template)
