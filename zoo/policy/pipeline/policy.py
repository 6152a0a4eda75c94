"""The policy `diffusers`: any pipeline that keeps the contract of diffusers' pipelines.

A pipeline calls its network and hands its scheduler what it makes of the outputs. That is run as it
is, for rows that have a time each, with gradients; nothing is written for a model family.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge

from zoo.policy.pipeline.contract import Family
from zoo.policy.pipeline.keywords import CallOptions
from zoo.policy.pipeline.loaded import PipelinePolicy
from zoo.policy.pipeline.networks import NetworkOptions
from zoo.policy.pipeline.source import Source
from zoo.policy.pretrained import Dtype, Pretrained
from zoo.policy.weights import CopiesOn, Lora
from zoo.storage.place import Place

Side = Annotated[int, Ge(8)]


class Diffusers(PipelinePolicy):
    """A text-to-image, editing or video pipeline of diffusers; LoRA on its attention by default.

    `pretrained` is a folder in diffusers' layout or a hub id. What the pipeline does is not written
    down for each: it is found when it is loaded, in seconds, and checked against the pipeline's own
    loop. One that does otherwise is refused. Latents have the shape that the pipeline steps.
    """

    sizes: ClassVar[tuple[str, ...]] = ("resolution", "frames")

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        pretrained: Place,
        pipeline: str | None = None,
        revision: str | None = None,
        variant: str | None = None,
        parts: Place | None = None,
        without: tuple[str, ...] = (),
        resolution: Side | tuple[Side, Side] | None = 512,
        frames: Annotated[int, Ge(1)] | None = None,
        negative: str = "",
        call: Mapping[str, Any] | None = None,
        family: Family | None = None,
        allow_unguided: bool = False,
        dtype: Dtype = "bfloat16",
        lora: Lora | None = Lora(rank=32, alpha=64),  # noqa: B008  (frozen)
        trains: tuple[str, ...] = (),
        max_text_tokens: Annotated[int, Ge(1)] | None = None,
        cached_prompts: Annotated[int, Ge(0)] = 1024,
        decode_batch: Annotated[int, Ge(1)] = 8,
        copies_on: CopiesOn = "device",
    ) -> None:
        """`pretrained` is a folder, a hub id, or a single file as published (`.safetensors`).

        Of a single file the network is taken, and all else from `parts`, a folder or hub id; null
        is the pipeline that diffusers takes it for. `without` are parts that a pipeline can do
        without: the T5 of SD3, say. `pipeline` is a class of diffusers, and by default the one that
        the model names.

        `resolution` is of a square, or [width, height]; null, where the pipeline is told none.
        `frames` is the length of a video. `negative` is the prompt that guidance leads away from.
        `call` are further keywords of every call of the pipeline, `guidance_scale` of a model with
        embedded guidance, say. `family` is what the pipeline cannot be asked; null takes what is
        known of it here. Models that predict noise collapse without guidance: `allow_unguided`
        collects so nevertheless. Of a pipeline with two networks `trains` names those that are
        trained, by default all that a prompt reaches. `max_text_tokens` null is the pipeline's own.
        `cached_prompts` embeddings are kept in the host's memory where each depends on its text
        alone.
        `lora` null trains all, in float32 that is cast to `dtype` in every forward.
        `decode_batch` images or frames are decoded together. With `copies_on` cpu the old,
        reference and EMA weights of training all are in the host's memory, and on the device while
        they are used.

        Raises:
            UnsupportedError: the pipeline does not keep the contract.
            ValueError: the model cannot be had, or an option does not fit it.
        """
        super().__init__(
            device,
            Source(Pretrained.of(pretrained, revision, variant, parts), pipeline, without, family),
            CallOptions(resolution, frames, max_text_tokens, negative, call),
            NetworkOptions(dtype, lora, copies_on, trains),
            cached_prompts=cached_prompts,
            decode_batch=decode_batch,
            allow_unguided=allow_unguided,
        )
