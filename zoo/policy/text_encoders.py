"""Text encoders on the device only while they encode, and their embeddings, kept on the host."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Words = Float[Tensor, "texts tokens width"]
Pooled = Float[Tensor, "texts pooled_width"]
Tables = Callable[[Sequence[str]], tuple[Words, Pooled]]
"""The embeddings of texts on a policy's device, a row each: of the words, and of the whole."""
Encode = Callable[[list[str]], tuple[Words, Pooled]]

_TOGETHER = 16
"""Texts that go through the encoders together."""


class TextEncoders:
    """Encoders, and the embeddings used last in the host's memory, up to a number of texts."""

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        encode: Encode,
        device: torch.device,
        *,
        kept: int,
    ) -> None:
        """`encode` uses the encoders, which are on the device when it is called."""
        self._encoders = [encoder.eval().requires_grad_(False) for encoder in encoders]
        self._encode, self._device = encode, device
        self._num_kept = kept
        self._kept: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> tuple[Words, Pooled]:
        """Encodes the texts that are not kept, which must be distinct."""
        embeddings = {text: self._kept[text] for text in texts if text in self._kept}
        for text in embeddings:
            self._kept.move_to_end(text)
        missing = [text for text in texts if text not in embeddings]
        if missing:
            fresh = dict(zip(missing, self._embed(missing), strict=True))
            embeddings |= fresh
            self._kept |= fresh
            while len(self._kept) > self._num_kept:
                self._kept.popitem(last=False)
        words, pooled = (torch.stack([embeddings[text][i] for text in texts]) for i in (0, 1))
        return words.to(self._device), pooled.to(self._device)

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        for encoder in self._encoders:
            encoder.to(self._device)
        embeddings: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(texts), _TOGETHER):
            words, pooled = self._encode(list(texts[start : start + _TOGETHER]))
            embeddings += zip(words.cpu(), pooled.cpu(), strict=True)
        for encoder in self._encoders:
            encoder.to("cpu")
        return embeddings


def shapes_alone(config: Any, tokens: int, dtype: torch.dtype) -> Tables:
    """What stands in for the encoders of a transformer with that configuration, on the meta device.

    The configuration is diffusers' and has the widths; `tokens` is what a text has of them.
    """
    width, pooled_width = config.joint_attention_dim, config.pooled_projection_dim
    empty = partial(torch.empty, dtype=dtype, device="meta")
    return lambda texts: (empty(len(texts), tokens, width), empty(len(texts), pooled_width))
