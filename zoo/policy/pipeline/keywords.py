"""A recipe's options as the keywords of a pipeline's call."""

from collections.abc import Mapping
from typing import Any

from zoo.errors import closest
from zoo.policy.pipeline.parts import keywords_of

_OPTIONS = {
    "width": "resolution",
    "height": "resolution",
    "num_frames": "frames",
    "max_sequence_length": "max_text_tokens",
}
"""The options by the keywords that pipelines have for them."""


def size_of(resolution: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Width and height, where they are said."""
    return (resolution, resolution) if isinstance(resolution, int) else resolution


def call_keywords(
    cls: Any,
    size: tuple[int, int] | None,
    frames: int | None,
    *,
    max_text_tokens: int | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """What every call of a pipeline of that class is given.

    Raises:
        ValueError: it takes no such keyword.
    """
    width, height = size or (None, None)
    given = {"width": width, "height": height, "num_frames": frames}
    given |= {"max_sequence_length": max_text_tokens}
    keywords = {key: value for key, value in given.items() if value is not None} | dict(more)
    takes = keywords_of(cls)
    for keyword in keywords:
        if keyword not in takes:
            option = _OPTIONS.get(keyword, f"call.{keyword}")
            guess = "" if keyword in _OPTIONS else closest(keyword, list(takes))
            raise ValueError(
                f"{cls.__name__} takes no '{keyword}'{guess}; write policy.{option}: null"
            )
    return keywords
