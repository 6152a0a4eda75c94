"""Prompts as a pipeline's own `encode_prompt` encodes them: once, its encoders lent to the device.

Where a text's embeddings depend on no other, each is encoded alone and kept by text on the host: so
they are rounded alike whichever others are asked for, in a run that goes on too. Else texts are
encoded together, so that padding and masks are the pipeline's own.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from zoo.devices import send
from zoo.devices.lending import Lent
from zoo.policy.pipeline.contract import Contract
from zoo.policy.pipeline.questions import Encoded
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.trees import joined, leaves, on_tensors, rows_at

_TOGETHER = 16
"""Texts that go through the encoders together, where they are not encoded alone."""


@dataclass(frozen=True)
class Entry:
    """A prompt as a pipeline takes it: a text, and input images that a key names."""

    text: str
    key: Hashable = None


@dataclass(frozen=True)
class Table:
    """Entries that go through a pipeline together, by their places, encoded on its device."""

    places: tuple[int, ...]
    encoded: Encoded

    def on(self, device: torch.device) -> "Table":
        """The same there, or on the device meta its shapes."""
        replies = on_tensors(self.encoded.replies, lambda leaf: send(leaf, device))
        return replace(self, encoded=replace(self.encoded, replies=replies))


class Embeddings:
    """Encodes entries, which must be distinct."""

    def __init__(self, seam: Seam, contract: Contract, device: torch.device, *, kept: int) -> None:
        """`kept` texts' embeddings at most are in the host's memory."""
        self._seam, self._contract, self._device = seam, contract, device
        self._encoders = Lent(text_encoders(seam.real))
        seam.lent = self.on_device
        self._num_kept = kept
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._coming: Callable[[], Sequence[str]] | None = None
        self._coming_guided = False

    def expect(self, coming: Callable[[], Sequence[str]], *, guided: bool) -> None:
        """These texts are asked for soon, in this order; they are encoded with the next that are.

        As many as can be kept: so the encoders are lent once for all of them. Texts that come
        `guided` are asked for without guidance as well, by whoever drops it from a condition.
        """
        self._coming, self._coming_guided = coming, guided

    def of(self, seam: Seam, contract: Contract, *, alike: bool) -> "Embeddings":
        """By the same encoders for another seam of the pipeline; with what is kept, if `alike`."""
        other = copy.copy(self)
        other._seam, other._contract, other._coming = seam, contract, None
        seam.lent = other.on_device
        if not alike:
            other._kept = OrderedDict()
        return other

    def __call__(
        self, entries: Sequence[Entry], guidance: float | None, images: Mapping[Hashable, Any]
    ) -> tuple[Table, ...]:
        """A table for each set of input images, or for each entry where it takes one a run."""
        alone = self._contract.manner.batching == "alone"
        places: dict[Hashable, list[int]] = {}
        for i, entry in enumerate(entries):
            places.setdefault(i if alone else entry.key, []).append(i)
        with self._seam.on(self._device):
            return tuple(
                Table(tuple(of), self._table([entries[i] for i in of], guidance, images))
                for of in places.values()
            )

    def _table(
        self, entries: Sequence[Entry], guidance: float | None, images: Mapping[Hashable, Any]
    ) -> Encoded:
        texts, shown = [entry.text for entry in entries], images.get(entries[0].key)
        if self._contract.independent and shown is None:
            return Encoded(self._placed(self._by_text(texts, guidance)))
        with self.on_device():
            encoded = self._together(texts, guidance, shown)
        return Encoded(self._placed(encoded.replies), shown, encoded.kept)

    def _placed(self, tree: Any) -> Any:
        return on_tensors(tree, lambda leaf: send(leaf, self._device))

    def _by_text(self, texts: Sequence[str], guidance: float | None) -> Any:
        guided = guidance is not None
        axes = self._contract.encoded[guided]
        found = {text: self._kept[text, guided] for text in texts if (text, guided) in self._kept}
        for text in found:
            self._kept.move_to_end((text, guided))
        missing = [text for text in texts if text not in found]
        if missing:
            missing += self._foreseen(texts, guided)
            with self.on_device():
                fresh = dict(zip(missing, self._rows(missing, guidance), strict=True))
            found |= fresh
            self._kept |= {(text, guided): rows for text, rows in fresh.items()}
            while len(self._kept) > self._num_kept:
                self._kept.popitem(last=False)
        return joined([found[text] for text in texts], axes)

    def _foreseen(self, texts: Sequence[str], guided: bool) -> list[str]:
        """What is worth encoding beside these texts: what comes soon and is not kept yet."""
        kinds = 1 + self._coming_guided
        room, own = self._num_kept // kinds - len(texts), set(texts)
        if self._coming is None or room <= 0 or (guided and not self._coming_guided):
            return []
        coming = [text for text in dict.fromkeys(self._coming()) if text not in own][:room]
        for text in coming:
            if (text, guided) in self._kept:
                self._kept.move_to_end((text, guided))
        return [text for text in coming if (text, guided) not in self._kept]

    def _rows(self, texts: Sequence[str], guidance: float | None) -> Iterator[Any]:
        """What each text has of its own, on the host."""
        axes = self._contract.encoded[guidance is not None]
        for text in texts:
            replies = self._seam.encode([text], guidance).replies
            alone = rows_at(replies, axes, torch.zeros(1, dtype=torch.long, device="cpu"))
            yield on_tensors(alone, lambda leaf: leaf.to("cpu"))

    def _together(self, texts: Sequence[str], guidance: float | None, images: Any) -> Encoded:
        """Portions beside the longest text, so that each is padded as all of them would be."""
        if len(texts) <= _TOGETHER or images is not None:
            return self._seam.encode(texts, guidance, images)
        axes, longest = self._contract.encoded[guidance is not None], self._longest(texts)
        parts = []
        for start in range(0, len(texts), _TOGETHER):
            some = texts[start : start + _TOGETHER]
            replies = self._seam.encode([*some, longest], guidance).replies
            parts.append(rows_at(replies, axes, torch.arange(len(some))))
        if any(_form(part, axes) != _form(parts[0], axes) for part in parts):
            return self._seam.encode(texts, guidance)
        return Encoded(joined(parts, axes))

    def _longest(self, texts: Sequence[str]) -> str:
        tokenizers = [part for part in self._seam.real.components.values() if is_tokenizer(part)]

        def length(text: str) -> int:
            return sum(len(tokenizer(text).input_ids) for tokenizer in tokenizers)

        return max(texts, key=length)

    def on_device(self) -> AbstractContextManager[None]:
        """Inside, the encoders of texts and images are on the device."""
        return self._encoders.on(self._device)


def text_encoders(pipe: Any) -> list[nn.Module]:
    """The encoders of a pipeline, of texts and of images: its models of transformers."""
    return [
        part
        for part in pipe.components.values()
        if isinstance(part, nn.Module) and type(part).__module__.startswith("transformers.")
    ]


def is_tokenizer(part: Any) -> bool:
    """Whether a part of a pipeline splits texts."""
    return callable(part) and hasattr(part, "convert_tokens_to_ids")


def _form(tree: Any, axes: Any) -> list[Any]:
    """A tree's shapes but for the number of rows."""
    return [
        (path, [n for axis, n in enumerate(leaf.shape) if axis != axes.get(path)])
        if isinstance(leaf, torch.Tensor)
        else (path, type(leaf))
        for path, leaf in leaves(tree)
    ]
