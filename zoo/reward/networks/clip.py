"""A CLIP of transformers for rewards: embeddings of images and texts, and where it is kept.

Radford et al. 2021 (arXiv 2103.00020). Embeddings are float32 and of length 1.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from zoo.devices import default_device, num_accelerators, send
from zoo.devices.lending import Lent
from zoo.errors import first_line
from zoo.storage.hub import Request

DType = Literal["float32", "bfloat16", "float16"]
Activation = Literal["gelu", "quick_gelu"]

OPENAI_CLIP_L = "openai/clip-vit-large-patch14"
LAION_CLIP_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
PICKSCORE = "yuvalkirstain/PickScore_v1"
"""Published ones, on the hub."""

NUM_TOKENS = 77
"""Of a text, that are read."""

# A configuration that says 2 is older than transformers 4.31: the text is then read at its highest
# token, the last of the vocabulary.
_OLD_END = 2


class Clip:
    """A model on its device; with `offload` it is there only from a first call to `rest`."""

    def __init__(
        self, model: Any, tokenizer: Any, device: torch.device, dtype: DType, *, offload: bool
    ) -> None:
        """`tokenizer` may be None where texts are not embedded.

        Raises:
            ValueError: the tokenizer is of another vocabulary than the model.
        """
        if tokenizer is None:
            # A third of the parameters, which nothing would use.
            model.text_model = model.text_projection = None
        else:
            _require_same_words(tokenizer, model.config.text_config)
        # Before it is rounded: 100 is 99 in bfloat16.
        self._scale = float(model.logit_scale.detach().float().exp())
        self._model = model.eval().requires_grad_(False).to(getattr(torch, dtype))
        self._tokenizer, self._device, self._offload = tokenizer, device, offload
        self._lent, self._is_there = Lent([self._model]), False
        if not offload:
            self._model.to(device)
            self._is_there = True

    @property
    def image_size(self) -> int:
        """Pixels a side that it takes."""
        return int(self._model.config.vision_config.image_size)

    @property
    def width(self) -> int:
        """Of an embedding."""
        return int(self._model.config.projection_dim)

    @property
    def device(self) -> torch.device:
        """Where it embeds."""
        return self._device

    @property
    def scale(self) -> float:
        """What cosines are multiplied by for logits."""
        return self._scale

    @torch.no_grad()
    def images(self, pixels: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch width"]:
        """Embeddings of images that are prepared as the model wants them."""
        self._go_there()
        output = self._model.get_image_features(
            pixel_values=pixels.to(self._device, self._model.dtype)
        )
        return F.normalize(output.pooler_output.float(), dim=-1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "batch width"]:
        """Embeddings of texts, of which the first 77 tokens are read.

        Each is embedded once: the images of a group have one prompt.
        """
        self._go_there()
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        tokens = self._tokenizer(
            list(place),
            padding="max_length",
            truncation=True,
            max_length=NUM_TOKENS,
            return_tensors="pt",
        )
        output = self._model.get_text_features(
            input_ids=send(tokens["input_ids"], self._device),
            attention_mask=send(tokens["attention_mask"], self._device),
        )
        embedded = F.normalize(output.pooler_output.float(), dim=-1)
        rows = send(torch.tensor([place[text] for text in texts]), self._device)
        return embedded.index_select(0, rows)

    def rest(self) -> None:
        """Leaves the device, if it is to."""
        if self._offload and self._is_there:
            self._lent.take_back()
            self._is_there = False

    def _go_there(self) -> None:
        if not self._is_there:
            self._lent.lend(self._device)
            self._is_there = True


def choose_device(run_on: str | None, device: torch.device) -> torch.device:
    """The device that an option names, or the run's.

    Raises:
        ValueError: there is no such device here.
    """
    if run_on is None:
        return device
    try:
        chosen = torch.device(run_on)
    except RuntimeError as error:
        raise ValueError(f"run_on: {run_on!r} is no device; write cpu, cuda or cuda:1") from error
    here = default_device().type
    count = num_accelerators() if chosen.type == here else 0
    if chosen.type in {"cuda", here} - {"cpu"} and (chosen.index or 0) >= count:
        raise ValueError(
            f"run_on: {run_on!r}: this machine has {count} {chosen.type.upper()} devices; write cpu"
        )
    try:
        # Others may be known and not be there, or compute nothing, as meta.
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"run_on: {run_on!r} cannot be used here: {first_line(error)}; "
            "write cpu, cuda or cuda:1"
        ) from error
    return chosen


def load_clip(source: str) -> Any:
    """The CLIPModel of a folder or the hub, in float32 on the CPU.

    Raises:
        ValueError: there is none, or it is another kind of model, or its weights are not whole.
    """
    from transformers import AutoConfig, CLIPModel

    if os.path.isfile(Path(source) / "model_index.json"):
        raise ValueError(
            f"the model {source!r} is a pipeline of diffusers, not a clip; name a CLIP"
        )
    try:
        kind = AutoConfig.from_pretrained(source).model_type
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{_why_not_had('model', source, error)}; name a folder or a repository with a CLIP"
        ) from error
    if kind != "clip":
        raise ValueError(f"the model {source!r} is a {kind}, not a clip; name a CLIP")
    try:
        model, report = CLIPModel.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # safetensors, torch and transformers each have their own
        raise ValueError(
            f"the weights of the model {source!r} cannot be read: {first_line(error)}; "
            "fetch them again"
        ) from error
    lacking = sorted(name for name in report["missing_keys"] if "position_ids" not in name)
    if lacking:
        raise ValueError(
            f"the weights of the model {source!r} lack {len(lacking)} tensors, {lacking[0]} first; "
            "fetch them again"
        )
    return model


def load_tokenizer(source: str) -> Any:
    """CLIP's tokenizer of a folder or the hub.

    Raises:
        ValueError: there is none.
    """
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(source)
    except Exception as error:
        raise ValueError(
            f"{_why_not_had('tokenizer', source, error)}; name a folder or a repository with "
            "CLIP's vocabulary"
        ) from error
    # transformers makes one of its special tokens where it finds no files.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError(
            f"the tokenizer {source!r} has no vocabulary, here or on the hub; name a folder or a "
            "repository with CLIP's"
        )
    return tokenizer


def _why_not_had(what: str, source: str, error: Exception) -> str:
    if os.path.isdir(source):
        return f"the {what} {source!r} is a folder without what it takes ({first_line(error)})"
    why = Request(source).refusal(error) or first_line(error)
    return f"the {what} {source!r} is no folder here and cannot be had from the Hub: {why}"


def _require_same_words(tokenizer: Any, config: Any) -> None:
    """Else a text may have no token at which it is read, and all texts score the same."""
    report, known = len(tokenizer), config.vocab_size
    fix = "name the tokenizer that the model was trained with"
    if report != known:
        raise ValueError(f"the tokenizer has {report} tokens and the model knows {known}; {fix}")
    last = config.eos_token_id
    wanted = known - 1 if last == _OLD_END else last
    if tokenizer.eos_token_id != wanted:
        raise ValueError(
            f"the tokenizer ends a text with token {tokenizer.eos_token_id} and the model reads it "
            f"at token {wanted}; {fix}"
        )
