"""Stable Diffusion 3 and 3.5: every checkpoint in diffusers' layout, from a folder or the hub.

Esser et al. 2024 (arXiv 2403.03206). Time is the scheduler's sigma; the network is asked at
1000 t, as diffusers asks it, not rounded. The base may be bfloat16; adapters, latents and the
solvers' arithmetic are float32. Embeddings have 128 T5 tokens in training and in evaluation
(published: 128 in training, 256 in the evaluation script).
"""

from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, MultipleOf
from jaxtyping import Float
from torch import Tensor, nn

from zoo.policy.latent import Encode, LatentPolicy, TextEncoders, Vae, shapes_alone
from zoo.policy.pretrained import Dtype, Pretrained, base_dtype, placed
from zoo.policy.weights import CopiesOn, Lora, WeightSets

_TARGETS = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
)
_CLIP_TOKENS = 77


class SD3(LatentPolicy):
    """Stable Diffusion 3.5 Medium or Large, or 3 Medium; LoRA on its eight attention projections.

    `pretrained` is a folder in diffusers' layout or a hub id. The text encoders are on the device
    only while they encode.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        pretrained: str = "stabilityai/stable-diffusion-3.5-medium",
        revision: str | None = None,
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

        `t5` false does without the third and by far the largest text encoder. `cached_prompts`
        embeddings (1.7 MB each in bfloat16) are kept in the host's memory. `decode_batch` images
        are decoded together. With `copies_on` cpu the old, reference and EMA weights of training
        all are in the host's memory, and on the device while they are used.
        """
        import diffusers

        self._device, self._dtype = device, base_dtype(dtype, lora)
        files = Pretrained(pretrained, revision)
        files.require("StableDiffusion3Pipeline", policy="sd3")
        network, vae, self._scheduler = files.flow_parts(
            diffusers.SD3Transformer2DModel, device, self._dtype
        )
        self._vae = Vae(vae.to(device), resolution=resolution, portion=decode_batch)
        self.latent_shape = self._vae.latent_shape
        _require_positions(network.config, self._vae.factor, resolution)
        if device.type == "meta":
            self._text = shapes_alone(network.config, _CLIP_TOKENS + max_text_tokens, self._dtype)
        else:
            found = _text_encoders(files, network, device, self._dtype, t5, max_text_tokens)
            self._text = TextEncoders(*found, device, kept=cached_prompts)
        placed(network, device, self._dtype)
        self.weights = WeightSets(network, lora, default_targets=_TARGETS, copies_on=copies_on)

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


def _require_positions(config: Any, factor: int, resolution: int) -> None:
    largest = config.pos_embed_max_size * config.patch_size * factor
    if resolution > largest:
        raise ValueError(
            f"the model has positions for {largest} pixels a side and resolution is {resolution}; "
            f"write {largest} or less"
        )


def _text_encoders(
    files: Pretrained,
    network: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    t5: bool,
    max_tokens: int,
) -> tuple[list[nn.Module], Encode]:
    """Two CLIP encoders and T5, and how diffusers' own pipeline encodes with them."""
    import diffusers

    without: dict[str, None] = {"vae": None, "transformer": None, "scheduler": None}
    if not t5:
        without |= {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = files.pipeline(diffusers.StableDiffusion3Pipeline, dtype, without)
    # It asks the network for the width of what stands in for T5.
    pipeline.transformer = network

    def encode(texts: list[str]) -> tuple[Tensor, Tensor]:
        words, _, pooled, _ = pipeline.encode_prompt(
            texts,
            texts,
            texts,
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=max_tokens,
        )
        return words, pooled

    every = pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3
    return [encoder for encoder in every if encoder is not None], encode
