"""Stable Diffusion 3 and 3.5: every checkpoint in diffusers' layout, from a folder or the hub.

Esser et al. 2024 (arXiv 2403.03206). Time is the scheduler's sigma; the network is asked at
1000 t, as diffusers asks it, not rounded. The base may be bfloat16; adapters, latents and the
solvers' arithmetic are float32. Embeddings have 128 T5 tokens in training and in evaluation
(published: 128 in training, 256 in the evaluation script).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, MultipleOf
from jaxtyping import Float
from torch import Tensor

from zoo.policy.latent import Family, LatentOptions, LatentPolicy
from zoo.policy.lora import ATTENTION
from zoo.policy.parts import is_here
from zoo.policy.pretrained import Dtype, Pretrained
from zoo.policy.weights import CopiesOn, Lora
from zoo.storage.place import Place

_T5 = ("text_encoder_3", "tokenizer_3")


class SD3(LatentPolicy):
    """Stable Diffusion 3.5 Medium or Large, or 3 Medium; LoRA on its eight attention projections.

    `pretrained` is a folder in diffusers' layout, a hub id, or a single file as published
    (`.safetensors`). The text encoders are on the device only while they encode.
    """

    family = Family(
        policy="sd3",
        pipeline="StableDiffusion3Pipeline",
        transformer="SD3Transformer2DModel",
        targets=ATTENTION,
        t5="tokenizer_3",
        clip_tokens=77,
    )

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

        `variant` is that of the files: fp16, say. Of a single file the network is taken, all else
        from `parts`, a folder or hub id; null is the pipeline that diffusers takes the file for.

        `t5` false does without the third and by far the largest text encoder. `cached_prompts`
        embeddings (1.7 MB each in bfloat16) are kept in the host's memory. `decode_batch` images
        are decoded together. With `copies_on` cpu the old, reference and EMA weights of training
        all are in the host's memory, and on the device while they are used.
        """
        self._resolution = resolution
        options = LatentOptions(
            resolution, dtype, lora, max_text_tokens, cached_prompts, decode_batch, copies_on
        )
        self._t5 = t5
        files = Pretrained.of(pretrained, revision, variant, parts)
        self._load(files, device, options, without=_without(t5))

    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """The scheduler's own sigmas, its shift applied, then 0."""
        self._scheduler.set_timesteps(num_steps)
        sigmas: Tensor = self._scheduler.sigmas
        return sigmas.double().cpu()

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """A pipeline of 3.5-Medium's layout with random weights, 2.5 MB, for 64 px."""
        from zoo.policy.tiny import write_sd3

        write_sd3(folder)
        return {
            "pretrained": str(folder),
            "variant": None,
            "parts": None,
            "resolution": 64,
            "max_text_tokens": 32,
            "dtype": "float32",
        }

    def _forward(self, x: Tensor, t: Tensor, words: Tensor, pooled: Tensor) -> Tensor:
        out: tuple[Tensor, ...] = self.weights(
            hidden_states=x.to(self._dtype),
            encoder_hidden_states=words.to(self._dtype),
            pooled_projections=pooled.to(self._dtype),
            timestep=t * 1000.0,
            return_dict=False,
        )
        return out[0].float()

    @classmethod
    def _unused(cls, files: Pretrained, options: Mapping[str, Any]) -> tuple[str, ...]:
        if is_here(files):
            _require_t5(files, wanted=options["t5"])
        return _without(options["t5"])

    def _require(self, files: Pretrained, config: Any) -> None:
        _require_t5(files, wanted=self._t5)
        largest = config.pos_embed_max_size * config.patch_size * self._vae.factor
        if self._resolution > largest:
            raise ValueError(
                f"the model has positions for {largest} pixels a side and resolution is "
                f"{self._resolution}; write {largest} or less"
            )

    @staticmethod
    def _embed(
        pipeline: Any, texts: list[str], *, device: torch.device, num_tokens: int
    ) -> tuple[Tensor, Tensor]:
        words, _, pooled, _ = pipeline.encode_prompt(
            texts,
            texts,
            texts,
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=num_tokens,
        )
        return words, pooled


def _without(t5: bool) -> tuple[str, ...]:
    """The parts of the pipeline that are not loaded."""
    return () if t5 else _T5


def _require_t5(files: Pretrained, *, wanted: bool) -> None:
    if wanted and files.lacks(_T5[0]):
        raise ValueError(f"the model '{files.source}' has no T5 (text_encoder_3); write t5: false")
