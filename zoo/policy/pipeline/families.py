"""What pipelines cannot be asked, a few words each; most need none.

Targets of LoRA are those that are published for a family (its training scripts, or those of the
public trainers of it); by default they are all linear layers of attention. Parts in float32 are
those of diffusers' own examples.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from zoo.policy.lora import ATTENTION
from zoo.policy.pipeline.contract import Family

_FEED_FORWARDS = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
_QWEN = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")
_FLUX2 = (
    "attn.to_out", "attn.to_qkv_mlp_proj", "ff.linear_in", "ff.linear_out",
    "ff_context.linear_in", "ff_context.linear_out",
)  # fmt: skip
_Z = ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0")
_Z_FEED_FORWARD = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
_WAN = (
    *(f"attn{i}.{name}" for i in (1, 2) for name in ("to_q", "to_k", "to_v", "to_out.0")),
    "ffn.net.0.proj", "ffn.net.2",
)  # fmt: skip

# Guidance is added up of clean latents there. With its norm restored, or with guidance of other
# kinds, a step is no velocity of the network's any more, and depends on the pipeline's one time.
_LTX2 = Family(
    states=("latents", "audio_latents"),
    call={
        "guidance_rescale": 0.0, "audio_guidance_rescale": 0.0, "stg_scale": 0.0,
        "audio_stg_scale": 0.0, "modality_scale": 1.0, "audio_modality_scale": 1.0,
        "audio_guidance_scale": None,
    },
)  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    "StableDiffusion3Pipeline": Family(targets=ATTENTION),
    "FluxPipeline": Family(targets=(*ATTENTION, *_FEED_FORWARDS)),
    "FluxKontextPipeline": Family(targets=(*ATTENTION, *_FEED_FORWARDS), inputs=1),
    "Flux2Pipeline": Family(targets=(*ATTENTION, *_FLUX2)),
    "Flux2KleinPipeline": Family(targets=(*ATTENTION, *_FLUX2)),
    "QwenImagePipeline": Family(targets=(*ATTENTION, *_QWEN)),
    "QwenImageEditPipeline": Family(targets=(*ATTENTION, *_QWEN), inputs=1),
    "QwenImageEditPlusPipeline": Family(targets=(*ATTENTION, *_QWEN), inputs=1),
    "ZImagePipeline": Family(targets=(*_Z, *_Z_FEED_FORWARD)),
    "WanPipeline": Family(targets=_WAN, wide=("vae",)),
    "WanImageToVideoPipeline": Family(targets=_WAN, inputs=1, wide=("vae", "image_encoder")),
    "ChronoEditPipeline": Family(inputs=1, wide=("vae", "image_encoder")),
    "SanaVideoPipeline": Family(wide=("vae",)),
    "SanaImageToVideoPipeline": Family(inputs=1, wide=("vae",)),
    "HunyuanVideoPipeline": Family(targets=(*ATTENTION, *_FEED_FORWARDS)),
    "HunyuanVideo15Pipeline": Family(targets=(*ATTENTION, *_FEED_FORWARDS)),
    "LTX2Pipeline": _LTX2,
    "LTX2ImageToVideoPipeline": replace(_LTX2, inputs=1),
    "LTX2ConditionPipeline": _LTX2,
    "LTX2InContextPipeline": _LTX2,
    "Ideogram4Pipeline": Family(call={"guidance_schedule": None}),
    "Kandinsky6TI2VAPipeline": Family(call={"sample_audio": False}),
}
"""By the class of the pipeline."""

_ATTENTION = re.compile(r".*(?:^|\.)(\w*attn\w*|\w*attention)\.(.+)$")
"""The last part of a layer's name that says attention, and what comes after it."""

_OF_AN_IMAGE = re.compile(
    "Edit|Kontext|Pix2Pix|Layered|ImageToVideo|Image2Video|I2V|I2I|Img2Img|Framepack"
)


def family_of(pipeline: str) -> Family:
    """Of a pipeline's class; where it is in no table, by what its name says of input images.

    One that is made of blocks is of the family of the other of its name.
    """
    pipeline = pipeline.replace("ModularPipeline", "Pipeline")
    return FAMILIES.get(pipeline, Family(inputs=int(bool(_OF_AN_IMAGE.search(pipeline)))))


def targets_of(network: nn.Module) -> tuple[str, ...]:
    """The ends of the names of the linear layers of attention: `attn.to_q`, say."""
    found = {
        ".".join(match.groups())
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and (match := _ATTENTION.match(name))
    }
    return tuple(sorted(found))
