"""What the parts of a tiny pipeline must know of each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Known:
    """Widths, by the pipeline that is made.

    `words` of a token's embedding, as the denoiser gets it, `pooled` of a prompt's, `image` of an
    image encoder's; `latents` are the channels of the autoencoder, `tokens` those that
    a tokenizer knows.
    """

    pipeline: Any
    slots: Mapping[str, Any]
    words: int = 0
    second: int = 0
    pooled: int = 0
    image: int = 0
    latents: int = 4
    tokens: int = 0
    layers: tuple[int, ...] = field(default=())

    @property
    def name(self) -> str:
        """Of the pipeline's class."""
        return str(self.pipeline.__name__)
