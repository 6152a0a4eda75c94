"""What the parts of a tiny pipeline must know of each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import UserError


class NoTinyError(UserError, ValueError):
    """A pipeline that cannot be made small: says why, and the fix."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"there is no tiny pipeline: {why}; run it without --tiny, on its own weights"
        )


@dataclass(frozen=True)
class Known:
    """Of the pipeline that is made: its class's name, and the classes of its components by slot.

    Widths: `words` of a token's embedding, `second` of that of another text encoder, `pooled` of a
    prompt's, `image` of an image encoder's; `latents` are the autoencoder's channels, `tokens`
    those that a tokenizer knows, and `layers` those of a text encoder whose outputs are taken.
    """

    name: str = ""
    slots: Mapping[str, Any] = field(default_factory=dict)
    words: int = 0
    second: int = 0
    pooled: int = 0
    image: int = 0
    latents: int = 4
    tokens: int = 0
    layers: tuple[int, ...] = ()
