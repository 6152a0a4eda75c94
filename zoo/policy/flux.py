"""FLUX.1 of Black Forest Labs, dev and schnell: checkpoints in diffusers' layout.

A flow-matching transformer (2024, github.com/black-forest-labs/flux) with blocks of two streams and
of one. Latents are those of the autoencoder; the network's own packing of 2 x 2 of them and its
position ids stay inside. Time is the scheduler's sigma, whose shift grows with the resolution in
dev. A bfloat16 network rounds t to bfloat16 before it embeds it, as in diffusers; adapters, latents
and the solvers' arithmetic are float32.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, MultipleOf
from jaxtyping import Float
from torch import Tensor

from zoo.policy.latent import Family, LatentOptions, LatentPolicy
from zoo.policy.lora import ATTENTION
from zoo.policy.pretrained import Dtype, Pretrained
from zoo.policy.weights import CopiesOn, Lora
from zoo.storage.place import Place

_FEED_FORWARDS = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
_PATCH = 2
"""Rows and columns of latents that are one token of the network."""


class Flux(LatentPolicy):
    """FLUX.1 dev or schnell; LoRA on the attention projections and the two-stream feed-forwards.

    `pretrained` is a folder in diffusers' layout, a hub id, or a single file as published
    (`.safetensors`). The text encoders are on the device only while they encode. There are two
    guidances: `guidance_embedding`, an input that dev was distilled to follow at no cost, and the
    sampler's and evaluation's `guidance`, which is classifier-free with the empty prompt, takes
    twice the forwards and is rarely used with FLUX.
    """

    family = Family(
        policy="flux",
        pipeline="FluxPipeline",
        transformer="FluxTransformer2DModel",
        # As in the published Flow-GRPO (scripts/train_flux.py); blocks of one stream have the
        # first three.
        targets=(*ATTENTION, *_FEED_FORWARDS),
        t5="tokenizer_2",
    )

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        pretrained: Place = "black-forest-labs/FLUX.1-dev",
        revision: str | None = None,
        variant: str | None = None,
        parts: Place | None = None,
        resolution: Annotated[int, Ge(16), MultipleOf(16)] = 512,
        guidance_embedding: Annotated[float, Ge(0)] | None = 3.5,
        dtype: Dtype = "bfloat16",
        lora: Lora | None = Lora(rank=64, alpha=128),  # noqa: B008  (frozen)
        max_text_tokens: Annotated[int, Ge(1), Le(512)] = 512,
        cached_prompts: Annotated[int, Ge(0)] = 1024,
        decode_batch: Annotated[int, Ge(1)] = 8,
        copies_on: CopiesOn = "device",
    ) -> None:
        """`dtype` is of the base, the text encoders and the autoencoder; `lora` null trains all.

        `variant` is that of the files: fp16, say. Of a single file the network is taken, all else
        from `parts`, a folder or hub id; null is the pipeline that diffusers takes the file for.

        `guidance_embedding` must be null for a model that has none: schnell. `max_text_tokens` of
        T5 are 512 in dev and 256 in schnell as published, 128 in Flow-GRPO's training: fewer are
        faster. `cached_prompts` embeddings (4.2 MB each of 512 tokens in bfloat16) are kept in the
        host's memory. `decode_batch` images are decoded together. With `copies_on` cpu the old,
        reference and EMA weights of training all are in the host's memory, and on the device while
        they are used.
        """
        self._guidance_embedding = guidance_embedding
        options = LatentOptions(
            resolution, dtype, lora, max_text_tokens, cached_prompts, decode_batch, copies_on
        )
        self._load(Pretrained.of(pretrained, revision, variant, parts), device, options)
        self._ids = _position_ids(self.latent_shape[1] // _PATCH).to(device)

    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """Even steps from 1 with the scheduler's shift, which for dev grows with the tokens, to 0.

        The shift's exponent is linear in the number of an image's tokens (1,024 at 512 px).
        """
        config = self._scheduler.config
        share = (len(self._ids) - config.base_image_seq_len) / (
            config.max_image_seq_len - config.base_image_seq_len
        )
        mu = config.base_shift + share * (config.max_shift - config.base_shift)
        even = torch.linspace(1, 1 / num_steps, num_steps, dtype=torch.float64)
        self._scheduler.set_timesteps(sigmas=even.tolist(), mu=mu)
        sigmas: Tensor = self._scheduler.sigmas
        return sigmas.double().cpu()

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """A pipeline of FLUX.1-dev's layout with random weights, 2 MB, for 64 px."""
        from zoo.policy.tiny import write_flux

        write_flux(folder)
        return {
            "pretrained": str(folder),
            "variant": None,
            "parts": None,
            "resolution": 64,
            "max_text_tokens": 32,
            "dtype": "float32",
        }

    def _forward(self, x: Tensor, t: Tensor, words: Tensor, pooled: Tensor) -> Tensor:
        embedded = self._guidance_embedding
        out: tuple[Tensor, ...] = self.weights(
            hidden_states=_pack(x).to(self._dtype),
            encoder_hidden_states=words.to(self._dtype),
            pooled_projections=pooled.to(self._dtype),
            timestep=t,
            guidance=None if embedded is None else torch.full_like(t, embedded),
            img_ids=self._ids,
            txt_ids=self._ids.new_zeros(words.shape[1], self._ids.shape[1]),
            return_dict=False,
        )
        return _unpack(out[0].float(), x.shape)

    def _require(self, files: Pretrained, config: Any) -> None:
        guidance = self._guidance_embedding
        if config.guidance_embeds and guidance is None:
            raise ValueError(
                f"the model '{files.source}' was distilled with a guidance embedding, and "
                "guidance_embedding is null; write guidance_embedding: 3.5"
            )
        if guidance is not None and not config.guidance_embeds:
            raise ValueError(
                f"the model '{files.source}' has no guidance embedding, and guidance_embedding is "
                f"{guidance:g}; write guidance_embedding: null"
            )

    @staticmethod
    def _embed(
        pipeline: Any, texts: list[str], *, device: torch.device, num_tokens: int
    ) -> tuple[Tensor, Tensor]:
        words, pooled, _ = pipeline.encode_prompt(
            texts, device=device, max_sequence_length=num_tokens
        )
        return words, pooled


def _pack(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens patch"]:
    """A token for each 2 x 2 of the latents, channel by channel, row by row."""
    patches = x.unfold(2, _PATCH, _PATCH).unfold(3, _PATCH, _PATCH)
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _unpack(
    tokens: Float[Tensor, "batch tokens patch"], shape: torch.Size
) -> Float[Tensor, "batch channels height width"]:
    batch, channels, height, width = shape
    patches = tokens.reshape(batch, height // _PATCH, width // _PATCH, channels, _PATCH, _PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(shape)


def _position_ids(side: int) -> Float[Tensor, "tokens 3"]:
    """0, the row and the column of every token of a square; those of text are all 0."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1).float()
