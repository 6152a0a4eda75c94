"""Stable Diffusion 3 and 3.5: the policy `diffusers` with the published settings.

Esser et al. 2024 (arXiv 2403.03206). Embeddings have 128 T5 tokens in training and in evaluation
(published: 128 in training, 256 in the evaluation script).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, MultipleOf

from zoo.policy.pipeline.keywords import CallOptions
from zoo.policy.pipeline.loaded import PipelinePolicy
from zoo.policy.pipeline.networks import NetworkOptions
from zoo.policy.pipeline.source import Source
from zoo.policy.preset import Preset
from zoo.policy.pretrained import Dtype, Pretrained
from zoo.policy.weights import CopiesOn, Lora
from zoo.storage.place import Place

_PIPELINE = "StableDiffusion3Pipeline"
_T5 = ("text_encoder_3", "tokenizer_3")


class SD3(Preset):
    """Stable Diffusion 3.5 Medium or Large, or 3 Medium; LoRA on its eight attention projections.

    `pretrained` is a folder in diffusers' layout, a hub id, or a single file as published
    (`.safetensors`). The text encoders are on the device only while they encode.
    """

    sizes = ("resolution",)

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        pretrained: Place = "stabilityai/stable-diffusion-3.5-medium",
        revision: str | None = None,
        variant: str | None = None,
        parts: Place | None = None,
        resolution: Annotated[int, Ge(16), MultipleOf(16)] = 512,
        dtype: Dtype = "bfloat16",
        lora: Lora | None = Lora(rank=32, alpha=64),  # noqa: B008  (frozen)
        t5: bool = True,
        max_text_tokens: Annotated[int, Ge(1), Le(512)] = 128,
        cached_prompts: Annotated[int, Ge(0)] = 1024,
        decode_batch: Annotated[int, Ge(1)] = 8,
        copies_on: CopiesOn = "device",
    ) -> None:
        """`dtype` is of the base, the text encoders and the autoencoder; `lora` null trains all.

        What is trained whole is float32, cast to `dtype` in every forward. `variant` is that of the
        files: fp16, say. Of a single file the network is taken, all else from `parts`, a folder or
        hub id; null is the pipeline that diffusers takes the file for.

        `t5` false does without the third and by far the largest text encoder. `cached_prompts`
        embeddings (1.7 MB each in bfloat16) are kept in the host's memory. `decode_batch` images
        are decoded together. With `copies_on` cpu the old, reference and EMA weights of training
        all are in the host's memory, and on the device while they are used.
        """
        files = Pretrained.of(pretrained, revision, variant, parts)
        _require(files, t5=t5)
        _require_positions(files, resolution)
        super().__init__(
            device,
            Source(files, _PIPELINE, () if t5 else _T5),
            CallOptions(resolution, max_text_tokens=max_text_tokens),
            NetworkOptions(dtype, lora, copies_on),
            cached_prompts=cached_prompts,
            decode_batch=decode_batch,
        )

    def sized(self, size: Mapping[str, Any]) -> PipelinePolicy:
        """The same model for pictures of another size.

        Raises:
            ValueError: it has no positions for them.
        """
        _require_positions(self._source.files, size["resolution"])
        return super().sized(size)

    @classmethod
    def as_diffusers(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Of SD3's pipeline, with or without T5."""
        without = () if options["t5"] else _T5
        return {**options, "pipeline": _PIPELINE, "without": without, "call": {}}

    @classmethod
    def require(cls, files: Pretrained, options: Mapping[str, Any]) -> None:
        """Refuses another family's model, one without T5, and one that is too small."""
        _require(files, t5=options["t5"])
        _require_positions(files, options["resolution"])

    @classmethod
    def write_tiny(cls, folder: Path, kind: str = "") -> dict[str, Any]:
        """A pipeline of 3.5-Medium's layout with random weights, 2.5 MB, for 64 px."""
        from zoo.policy.tiny import options_of, write_sd3

        write_sd3(folder)
        return options_of(folder)


def _require(files: Pretrained, *, t5: bool) -> None:
    """Refuses another family's model, and one without T5, before its weights are read."""
    files.require(_PIPELINE, policy="sd3")
    if t5 and files.lacks(_T5[0]):
        raise ValueError(f"the model '{files.source}' has no T5 (text_encoder_3); write t5: false")


def _require_positions(files: Pretrained, resolution: int) -> None:
    """Refuses pictures for which the network has no positions."""
    import diffusers

    network = files.config(diffusers.SD3Transformer2DModel, "transformer")
    factor = 2 ** (len(files.config(diffusers.AutoencoderKL, "vae")["block_out_channels"]) - 1)
    largest = network["pos_embed_max_size"] * network["patch_size"] * factor
    if resolution > largest:
        raise ValueError(
            f"the model has positions for {largest} pixels a side and resolution is {resolution}; "
            f"write {largest} or less"
        )
