"""FLUX.1 of Black Forest Labs, dev and schnell: the policy `diffusers` with the published settings.

A flow-matching transformer (2024, github.com/black-forest-labs/flux). Latents are those of the
autoencoder; the pipeline's packing of 2 x 2 of them into a token stays inside.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, MultipleOf
from jaxtyping import Float
from torch import Tensor

from zoo.policy.base import Latents
from zoo.policy.pipeline.keywords import CallOptions
from zoo.policy.pipeline.networks import NetworkOptions
from zoo.policy.pipeline.source import Source
from zoo.policy.preset import Preset
from zoo.policy.pretrained import Dtype, Pretrained
from zoo.policy.weights import CopiesOn, Lora
from zoo.rollout import Cond
from zoo.storage.place import Place

_PIPELINE = "FluxPipeline"
_PATCH = 2
"""Rows and columns of latents that are one token of the network."""


class Flux(Preset):
    """FLUX.1 dev or schnell; LoRA on the attention projections and the two-stream feed-forwards.

    `pretrained` is a folder in diffusers' layout, a hub id, or a single file as published
    (`.safetensors`). The text encoders are on the device only while they encode. There are two
    guidances: `guidance_embedding`, an input that dev was distilled to follow at no cost, and the
    sampler's and evaluation's `guidance`, which is classifier-free with the empty prompt, takes
    twice the forwards and is rarely used with FLUX.
    """

    sizes = ("resolution",)

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

        What is trained whole is float32, cast to `dtype` in every forward. `variant` is that of the
        files: fp16, say. Of a single file the network is taken, all else from `parts`, a folder or
        hub id; null is the pipeline that diffusers takes the file for.

        `guidance_embedding` must be null for a model that has none: schnell. `max_text_tokens` of
        T5 are 512 in dev and 256 in schnell as published, 128 in Flow-GRPO's training: fewer are
        faster. `cached_prompts` embeddings (4.2 MB each of 512 tokens in bfloat16) are kept in the
        host's memory. `decode_batch` images are decoded together. With `copies_on` cpu the old,
        reference and EMA weights of training all are in the host's memory, and on the device while
        they are used.
        """
        files = Pretrained.of(pretrained, revision, variant, parts)
        _require(files, guidance_embedding)
        call = {"guidance_scale": guidance_embedding or 0.0}
        super().__init__(
            device,
            Source(files, _PIPELINE),
            CallOptions(resolution, max_text_tokens=max_text_tokens, call=call),
            NetworkOptions(dtype, lora, copies_on),
            cached_prompts=cached_prompts,
            decode_batch=decode_batch,
        )

    def _shape(self) -> tuple[int, ...]:
        """Of the autoencoder's latents, which are square."""
        tokens, channels = super()._shape()
        side = _PATCH * round(tokens**0.5)
        return channels // _PATCH**2, side, side

    def velocity(self, x: Latents, t: Float[Tensor, " batch"], cond: Cond) -> Latents:
        """dx/dt; the branch without the prompt has no gradient."""
        return _unpack(super().velocity(_pack(x), t, cond), x.shape)

    def decode(self, latents: Latents) -> Float[Tensor, "batch 3 height width"]:
        """Images by the autoencoder, a few at a time."""
        return super().decode(_pack(latents))

    def latents(self, images: Float[Tensor, "batch 3 height width"]) -> Latents:
        """The most probable latents.

        Raises:
            ValueError: the images are not of the policy's resolution.
        """
        packed = super().latents(images)
        return _unpack(packed, torch.Size([len(images), *self.latent_shape]))

    @classmethod
    def as_diffusers(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Of FLUX.1's pipeline."""
        return {**options, "pipeline": _PIPELINE, "without": (), "call": {}}

    @classmethod
    def require(cls, files: Pretrained, options: Mapping[str, Any]) -> None:
        """Refuses another family's model, and guidance that it has no embedding for."""
        _require(files, options["guidance_embedding"])

    @classmethod
    def write_tiny(cls, folder: Path, kind: str = "") -> dict[str, Any]:
        """A pipeline of FLUX.1-dev's layout with random weights, 2 MB, for 64 px."""
        from zoo.policy.tiny import options_of, write_flux

        write_flux(folder)
        return options_of(folder)


def _require(files: Pretrained, guidance: float | None) -> None:
    """Refuses a model that the guidance embedding does not fit, before its weights are read."""
    import diffusers

    files.require(_PIPELINE, policy="flux")
    embeds = files.config(diffusers.FluxTransformer2DModel, "transformer")["guidance_embeds"]
    if embeds and guidance is None:
        raise ValueError(
            f"the model '{files.source}' was distilled with a guidance embedding, and "
            "guidance_embedding is null; write guidance_embedding: 3.5"
        )
    if guidance is not None and not embeds:
        raise ValueError(
            f"the model '{files.source}' has no guidance embedding, and guidance_embedding is "
            f"{guidance:g}; write guidance_embedding: null"
        )


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
