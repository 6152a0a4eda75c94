"""What latent families share: the autoencoder, guidance, and their policy."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.data.text_limit import TextLimit
from zoo.policy.base import Policy
from zoo.policy.parts import is_here, num_numbers, require_files
from zoo.policy.pretrained import Dtype, Pretrained, base_dtype, place
from zoo.policy.text_encoders import Pooled, Tables, TextEncoders, Words, shapes_alone
from zoo.policy.weights import CopiesOn, Lora, WeightSets
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup, rows_of

_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
"""As pipelines name them."""

_CLIP_TOKENS = 77
"""That CLIP has positions for."""

Latents = Float[Tensor, "batch channels rows columns"]
Images = Float[Tensor, "batch 3 height width"]


class Vae:
    """A diffusers AutoencoderKL with its own shift and scale.

    A model's latents are (encoded - shift_factor) * scaling_factor of the autoencoder's.
    """

    def __init__(self, model: Any, *, resolution: int, portion: int) -> None:
        """For square images; `portion` of them go through it together: what bounds its memory."""
        self._model = model.eval().requires_grad_(False)
        self._resolution, self._portion = resolution, portion
        self._scale = float(model.config.scaling_factor)
        self._shift = float(model.config.shift_factor or 0.0)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a latent."""
        side = self._resolution // self.factor
        return int(self._model.config.latent_channels), side, side

    @property
    def factor(self) -> int:
        """Pixels a latent's row or column stands for."""
        return int(2 ** (len(self._model.config.block_out_channels) - 1))

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Images in [0, 1], float32; what lies outside is clamped."""
        inner = latents / self._scale + self._shift
        parts = [
            self._model.decode(part.to(self._model.dtype), return_dict=False)[0].float()
            for part in torch.split(inner, self._portion)
        ]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def encode(self, images: Images) -> Latents:
        """The most probable latents of images in [0, 1], float32.

        Raises:
            ValueError: the images are not of the policy's resolution.
        """
        side = self._resolution
        if images.shape[-2:] != (side, side):
            raise ValueError(
                f"the policy's resolution is {side} and an image has {images.shape[-2]} x "
                f"{images.shape[-1]} pixels; resize the images, or set policy.resolution"
            )
        inputs = 2 * images.to(self._model.device) - 1
        parts = [
            self._model.encode(part.to(self._model.dtype)).latent_dist.mode().float()
            for part in torch.split(inputs, self._portion)
        ]
        return (torch.cat(parts) - self._shift) * self._scale


Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The velocity of latents at times by the embeddings of their words and of their whole texts."""


def text_cond(
    tables: Tables, prompts: Sequence[Prompt], guidance: float, device: torch.device
) -> Cond:
    """A table of the distinct prompts' embeddings; with guidance also the empty prompt's."""
    texts = [prompt.text for prompt in prompts]
    distinct = list(dict.fromkeys(texts))
    encoded = distinct if guidance == 1.0 or "" in distinct else [*distinct, ""]
    words, pooled = tables(encoded)
    row = torch.tensor([encoded.index(text) for text in texts], device=device)
    tensors: dict[str, Tensor | Lookup] = {
        "words": Lookup(words, row),
        "pooled": Lookup(pooled, row),
    }
    if guidance != 1.0:
        null = torch.full_like(row, encoded.index(""))
        tensors |= {"null_words": Lookup(words, null), "null_pooled": Lookup(pooled, null)}
    return Cond(tensors, guidance)


def guide(
    forward: Forward,
    x: Float[Tensor, "batch *latent"],
    t: Float[Tensor, " batch"],
    cond: Cond,
) -> Float[Tensor, "batch *latent"]:
    """The velocity by a condition of `text_cond`.

    With guidance the network has two rows for each of the batch's, the null one without gradient.
    """
    named = rows_of(cond.tensors["words"]), rows_of(cond.tensors["pooled"])
    if cond.guidance == 1.0:
        return forward(x, t, *named)
    null = rows_of(cond.tensors["null_words"]), rows_of(cond.tensors["null_pooled"])
    if torch.is_grad_enabled():
        velocity = forward(x, t, *named)
        with torch.no_grad():
            unguided = forward(x, t, *null)
    else:
        both = [torch.cat(pair) for pair in zip(null, named, strict=True)]
        unguided, velocity = forward(torch.cat([x, x]), torch.cat([t, t]), *both).chunk(2)
    return unguided + cond.guidance * (velocity - unguided)


@dataclass(frozen=True)
class Family:
    """A family by the names that diffusers has for it."""

    policy: str
    pipeline: str
    transformer: str
    targets: tuple[str, ...]
    """The ends of the names of its layers with LoRA by default."""
    t5: str
    """The part with T5's tokenizer; CLIP's is `tokenizer`."""
    clip_tokens: int = 0
    """Embeddings of words by CLIP, before those by T5."""


@dataclass(frozen=True)
class LatentOptions:
    """The options that latent families have in common, each documented by the family."""

    resolution: int
    dtype: Dtype
    lora: Lora | None
    max_text_tokens: int
    cached_prompts: int
    decode_batch: int
    copies_on: CopiesOn


class LatentPolicy(Policy):
    """A network on an autoencoder's latents, told of prompts by embeddings of words and whole.

    A family names its `family`, calls `_load` with its options, and has its text encoders' call,
    its network's forward and its time grid.
    """

    family: ClassVar[Family]

    network_folder = "transformer"

    def _load(
        self,
        files: Pretrained,
        device: torch.device,
        options: LatentOptions,
        without: Sequence[str] = (),
    ) -> None:
        """Loads the network, the autoencoder, the scheduler and the encoders `without` these parts.

        On the meta device shapes alone, and no encoder.

        Raises:
            ValueError: the model is of another family, does not fit the options or cannot be had.
        """
        import diffusers

        self._device, self._dtype = device, base_dtype(options.dtype, options.lora)
        self._files, self._without = files, without
        files.require(self.family.pipeline, policy=self.family.policy)
        network, vae, self._scheduler = files.flow_parts(
            getattr(diffusers, self.family.transformer), device, self._dtype
        )
        self._vae = Vae(vae.to(device), resolution=options.resolution, portion=options.decode_batch)
        self.latent_shape = self._vae.latent_shape
        self._require(files, network.config)
        self._text = self._tables(files, network, options, without)
        place(network, device, self._dtype)
        self.weights = WeightSets(
            network,
            options.lora,
            default_targets=self.family.targets,
            copies_on=options.copies_on,
        )

    def _tables(
        self, files: Pretrained, network: Any, options: LatentOptions, without: Sequence[str]
    ) -> Tables:
        """The pipeline's own encoders, called as its family calls them."""
        import diffusers

        num_tokens = options.max_text_tokens
        if self._device.type == "meta":
            return shapes_alone(network.config, self.family.clip_tokens + num_tokens, self._dtype)
        pipeline = files.pipeline(
            getattr(diffusers, self.family.pipeline),
            self._dtype,
            dict.fromkeys(("vae", "transformer", "scheduler", *without)),
        )
        # It may ask the network for the width of what stands in for an encoder.
        pipeline.transformer = network
        encoders = [getattr(pipeline, part, None) for part in _ENCODERS]
        return TextEncoders(
            [encoder for encoder in encoders if encoder is not None],
            partial(self._embed, pipeline, device=self._device, num_tokens=num_tokens),
            self._device,
            kept=options.cached_prompts,
        )

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """Of CLIP, which gives the embedding of the whole text, and of T5.

        Raises:
            ValueError: the model or a tokenizer cannot be had.
        """
        files = Pretrained.of(
            options["pretrained"], options["revision"], options["variant"], options["parts"]
        )
        clip = TextLimit("CLIP", _CLIP_TOKENS, files.count_by("tokenizer"))
        if not options.get("t5", True):
            return (clip,)
        count = files.count_by(cls.family.t5)
        return clip, TextLimit("T5", options["max_text_tokens"], count, "max_text_tokens")

    def encoder_bytes(self) -> int:
        """Those of the pipeline's encoders, by their files or configurations."""
        used = [part for part in _ENCODERS if part not in self._without]
        there = [part for part in used if not self._files.lacks(part)]
        return self._dtype.itemsize * sum(num_numbers(self._files, part) for part in there)

    @classmethod
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks for the files of a model in a folder here.

        Raises:
            ValueError: it is of another family, or lacks a part.
        """
        named = (options[key] for key in ("pretrained", "revision", "variant", "parts"))
        files = Pretrained.of(*named)
        if is_here(files):
            files.require(cls.family.pipeline, policy=cls.family.policy)
        # A single file has its network.
        own = (cls.network_folder,) if files.file else ()
        unused = cls._unused(files, options)
        require_files(files, alone=("vae", cls.network_folder), without=(*unused, *own))

    @classmethod
    def _unused(cls, files: Pretrained, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of a pipeline that these options do without.

        Raises:
            ValueError: it is without a part that they need.
        """
        return ()

    def write_rest(self, folder: Path) -> None:
        """All parts of the pipeline that this policy uses, but for the network, and its index."""
        self._files.copy_parts(folder, network=self.network_folder, without=self._without)

    @abstractmethod
    def _require(self, files: Pretrained, config: Any) -> None:
        """Refuses a model, also by its transformer's configuration, that these options do not fit.

        Raises:
            ValueError: they do not.
        """

    @staticmethod
    @abstractmethod
    def _embed(
        pipeline: Any, texts: list[str], *, device: torch.device, num_tokens: int
    ) -> tuple[Words, Pooled]:
        """The embeddings of texts' words and of the whole texts, by diffusers' own pipeline."""

    @abstractmethod
    def _forward(self, x: Tensor, t: Tensor, words: Tensor, pooled: Tensor) -> Tensor:
        """The network's velocity, float32, without classifier-free guidance."""

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """A table of the distinct prompts' embeddings; with guidance also the empty prompt's."""
        return text_cond(self._text, prompts, guidance, self._device)

    def velocity(
        self, x: Float[Tensor, "batch *latent"], t: Float[Tensor, " batch"], cond: Cond
    ) -> Float[Tensor, "batch *latent"]:
        """dx/dt; with guidance two rows of the network for each, the null one without gradient."""
        return guide(self._forward, x, t, cond)

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
        return self._vae.encode(images)
