"""Which of ten colours an object has: CLIP, zero-shot.

GenEval (Ghosh et al. 2023, arXiv 2310.11513): three sentences a colour, with the object's class in
two of them; their normalised embeddings are averaged and normalised again, and the colour nearest
to the crop's embedding is the object's.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo_geneval.loading import pretrained_model
from zoo_geneval.metadata import COLORS

SENTENCES = (
    "a photo of a {color} {name}",
    "a photo of a {color}-colored {name}",
    "a photo of a {color} object",
)
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class ColorNamer:
    """Names the colours of crops."""

    def __init__(
        self, device: torch.device, pretrained: str, *, dtype: torch.dtype, batch: int
    ) -> None:
        """Loads a CLIP; `batch` crops go through it at a time.

        Raises:
            ValueError: it cannot be loaded, or its tokenizer is another model's.
        """
        self._device, self._dtype, self._batch = device, dtype, batch
        from transformers import CLIPModel, CLIPTokenizer

        self._model = pretrained_model(CLIPModel, pretrained, "CLIP", dtype).to(device)
        self._tokenizer = CLIPTokenizer.from_pretrained(pretrained)
        # Without its files transformers makes a tokenizer of two words.
        words = self._model.config.text_config.vocab_size
        if len(self._tokenizer) != words:
            raise ValueError(
                f"the CLIP {pretrained!r} has a tokenizer of {len(self._tokenizer)} words and a "
                f"model of {words}; its folder needs tokenizer.json, or vocab.json and merges.txt"
            )
        self._of_class: dict[str, Tensor] = {}
        self.size: int = self._model.config.vision_config.image_size
        """Width and height of a crop, in pixels."""

    def name(
        self, crops: Sequence[Float[Tensor, "3 size size"]], names: Sequence[str]
    ) -> list[str]:
        """The colour of each crop, in [0, 1]; `names` are the objects' classes."""
        colors: list[str] = []
        mean, std = (
            torch.tensor(values)[:, None, None].to(self._device) for values in (_MEAN, _STD)
        )
        for first in range(0, len(crops), self._batch):
            rows = slice(first, first + self._batch)
            pixels = (torch.stack(list(crops[rows])).to(self._device) - mean) / std
            out = self._model.get_image_features(pixel_values=pixels.to(self._dtype))
            texts = torch.stack([self._texts(name) for name in names[rows]])
            image = nn.functional.normalize(out.pooler_output.float(), dim=-1)
            nearest = torch.einsum("id,icd->ic", image, texts).argmax(1)
            colors += [COLORS[index] for index in nearest.tolist()]
        return colors

    def _texts(self, name: str) -> Float[Tensor, "colors dim"]:
        if name not in self._of_class:
            texts = [
                sentence.format(color=color, name=name)
                for color in COLORS
                for sentence in SENTENCES
            ]
            tokens = self._tokenizer(texts, padding=True, return_tensors="pt").to(self._device)
            out = self._model.get_text_features(
                input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
            )
            values = nn.functional.normalize(out.pooler_output.float(), dim=-1)
            mean = values.reshape(len(COLORS), len(SENTENCES), -1).mean(1)
            self._of_class[name] = nn.functional.normalize(mean, dim=-1)
        return self._of_class[name]
