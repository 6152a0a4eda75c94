"""Stable Diffusion 3 and 3.5: every checkpoint in diffusers' layout, from a folder or the hub.

Esser et al. 2024 (arXiv 2403.03206). Time is the scheduler's sigma; the network is asked at
1000 t, as diffusers asks it, not rounded. The base may be bfloat16; adapters, latents and the
solvers' arithmetic are float32. Embeddings have 128 T5 tokens in training and in evaluation
(published: 128 in training, 256 in the evaluation script).
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le, MultipleOf
from jaxtyping import Float
from torch import Tensor, nn

from zoo.policy.base import Policy
from zoo.policy.pretrained import Pretrained
from zoo.policy.vae import Vae
from zoo.policy.weights import CopiesOn, Lora, WeightSets
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup, rows_of

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
_ENCODED_TOGETHER = 16
"""Prompts that go through the text encoders together."""


class SD3(Policy):
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
        dtype: Literal["float32", "bfloat16"] = "bfloat16",
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
        if lora is None and dtype != "float32":
            raise ValueError(
                f"dtype {dtype} cannot hold the small steps of full fine-tuning; "
                "write dtype: float32, or train with lora"
            )
        self._device, self._dtype = device, getattr(torch, dtype)
        files = Pretrained(pretrained, revision)
        network, vae, self._scheduler = _parts(files, device, self._dtype)
        self._config = network.config
        self._vae = Vae(vae.to(device), portion=decode_batch)
        side = resolution // self._vae.factor
        self.latent_shape = (self._vae.channels, side, side)
        self._require_positions(side, resolution)
        self._tokens = max_text_tokens
        self._text = (
            None
            if device.type == "meta"
            else _TextEncoders(files, network, device, self._dtype, t5, max_text_tokens)
        )
        self._cache = _Recent(cached_prompts)
        # Diffusers' own `to` warns of modules to keep in float32, of which there are none.
        nn.Module.to(network, device, self._dtype).eval()
        self.weights = WeightSets(network, lora, default_targets=_TARGETS, copies_on=copies_on)

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """A table of the distinct prompts' embeddings; with guidance also the empty prompt's."""
        texts = [prompt.text for prompt in prompts]
        distinct = list(dict.fromkeys(texts))
        words, pooled = self._tables(distinct if guidance == 1.0 else [*distinct, ""])
        row = torch.tensor([distinct.index(text) for text in texts], device=self._device)
        tensors: dict[str, Tensor | Lookup] = {
            "words": Lookup(words, row),
            "pooled": Lookup(pooled, row),
        }
        if guidance != 1.0:
            null = torch.full_like(row, len(distinct))
            tensors |= {"null_words": Lookup(words, null), "null_pooled": Lookup(pooled, null)}
        return Cond(tensors, guidance)

    def velocity(
        self, x: Float[Tensor, "batch *latent"], t: Float[Tensor, " batch"], cond: Cond
    ) -> Float[Tensor, "batch *latent"]:
        """dx/dt; with guidance two rows of the network for each, the null one without gradient."""
        named = rows_of(cond.tensors["words"]), rows_of(cond.tensors["pooled"])
        if cond.guidance == 1.0:
            return self._forward(x, t, *named)
        null = rows_of(cond.tensors["null_words"]), rows_of(cond.tensors["null_pooled"])
        if torch.is_grad_enabled():
            velocity = self._forward(x, t, *named)
            with torch.no_grad():
                unguided = self._forward(x, t, *null)
        else:
            both = [torch.cat(pair) for pair in zip(null, named, strict=True)]
            unguided, velocity = self._forward(x.repeat(2, 1, 1, 1), t.repeat(2), *both).chunk(2)
        return unguided + cond.guidance * (velocity - unguided)

    def decode(
        self, latents: Float[Tensor, "batch *latent"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Images by the autoencoder, a few at a time."""
        return self._vae.decode(latents)

    def latents(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch *latent"]:
        """The most probable latents.

        Raises:
            ValueError: the images are not of the policy's resolution.
        """
        side = self.latent_shape[1] * self._vae.factor
        if images.shape[-2:] != (side, side):
            raise ValueError(
                f"the policy's resolution is {side} and an image has {images.shape[-2]} x "
                f"{images.shape[-1]} pixels; resize the images, or set policy.resolution"
            )
        return self._vae.encode(images.to(self._device))

    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """The scheduler's own sigmas, its shift applied, then 0."""
        self._scheduler.set_timesteps(num_steps)
        sigmas: Tensor = self._scheduler.sigmas
        return sigmas.double().cpu()

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """A pipeline of 3.5-Medium's layout with random weights, 2.5 MB, for 64 px."""
        from zoo.policy.tiny_sd3 import write

        write(folder)
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

    def _tables(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The embeddings of texts on the device, a row each: of words, and pooled."""
        if self._text is None:
            tokens, width = _CLIP_TOKENS + self._tokens, self._config.joint_attention_dim
            empty = partial(torch.empty, dtype=self._dtype, device="meta")
            return (
                empty(len(texts), tokens, width),
                empty(len(texts), self._config.pooled_projection_dim),
            )
        found = self._cache.among(texts)
        missing = [text for text in texts if text not in found]
        if missing:
            embedded = dict(zip(missing, self._text.embed(missing), strict=True))
            self._cache.add(embedded)
            found |= embedded
        words, pooled = (torch.stack([found[text][i] for text in texts]) for i in (0, 1))
        return words.to(self._device), pooled.to(self._device)

    def _require_positions(self, side: int, resolution: int) -> None:
        largest = self._config.pos_embed_max_size * self._config.patch_size
        if side > largest:
            raise ValueError(
                f"the model has positions for {largest * self._vae.factor} pixels a side and "
                f"resolution is {resolution}; write {largest * self._vae.factor} or less"
            )


class _TextEncoders:
    """Two CLIP encoders and T5, through diffusers' own pipeline; on the device while they work."""

    def __init__(
        self,
        files: Pretrained,
        network: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        t5: bool,
        max_tokens: int,
    ) -> None:
        import diffusers

        without: dict[str, None] = {"vae": None, "transformer": None, "scheduler": None}
        if not t5:
            without |= {"text_encoder_3": None, "tokenizer_3": None}
        self._pipeline = files.pipeline(diffusers.StableDiffusion3Pipeline, dtype, without)
        # It asks the network for the width of what stands in for T5.
        self._pipeline.transformer = network
        self._encoders = [
            encoder.eval().requires_grad_(False)
            for encoder in (
                self._pipeline.text_encoder,
                self._pipeline.text_encoder_2,
                self._pipeline.text_encoder_3,
            )
            if encoder is not None
        ]
        self._device, self._max_tokens = device, max_tokens

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """The embeddings of each text's words and of the whole, on the CPU."""
        for encoder in self._encoders:
            encoder.to(self._device)
        found: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(texts), _ENCODED_TOGETHER):
            part = list(texts[start : start + _ENCODED_TOGETHER])
            words, _, pooled, _ = self._pipeline.encode_prompt(
                part,
                part,
                part,
                device=self._device,
                do_classifier_free_guidance=False,
                max_sequence_length=self._max_tokens,
            )
            found += zip(words.cpu(), pooled.cpu(), strict=True)
        for encoder in self._encoders:
            encoder.to("cpu")
        return found


class _Recent:
    """The embeddings used last, up to a number of texts."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    def among(self, texts: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
        found = {text: self._kept[text] for text in texts if text in self._kept}
        for text in found:
            self._kept.move_to_end(text)
        return found

    def add(self, found: dict[str, tuple[Tensor, Tensor]]) -> None:
        self._kept |= found
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)


def _parts(files: Pretrained, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """The transformer, the autoencoder and the scheduler of an SD3 pipeline."""
    import diffusers

    # diffusers has no types.
    transformer: Any = diffusers.SD3Transformer2DModel
    autoencoder: Any = diffusers.AutoencoderKL
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler
    files.require("StableDiffusion3Pipeline", policy="sd3")
    if device.type == "meta":
        models = (files.empty(transformer, "transformer"), files.empty(autoencoder, "vae"))
    else:
        models = (
            files.load(transformer, "transformer", dtype),
            files.load(autoencoder, "vae", dtype),
        )
    return (*models, files.load(scheduler, "scheduler"))
