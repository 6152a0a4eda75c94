"""A pipeline of FLUX.1's layout with random weights: 2 MB, to try things on.

Everything that the real one has: CLIP and T5, an autoencoder of 16 channels, blocks of two streams
and of one. The variant dev has the guidance embedding and a time shift by resolution, schnell has
neither. What it draws is noise.
"""

from pathlib import Path
from typing import Any, Literal

from zoo import seeds
from zoo.policy.tiny_parts import (
    CLIP_WIDTH,
    WIDTH,
    autoencoder,
    clip_config,
    clip_tokenizer,
    t5_encoder,
    t5_tokenizer,
)

Variant = Literal["dev", "schnell"]


def write(folder: Path, variant: Variant = "dev") -> None:
    """Writes the pipeline in diffusers' layout; the same weights every time."""
    import diffusers
    from transformers import CLIPTextModel

    folder.mkdir(parents=True, exist_ok=True)
    clip_words, t5_words = clip_tokenizer(), t5_tokenizer()
    # As in the published configurations.
    dev = variant == "dev"
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0 if dev else 1.0, use_dynamic_shifting=dev
    )
    with seeds.borrowed(0, "tiny flux"):
        pipeline: Any = diffusers.FluxPipeline(
            transformer=_transformer(guidance_embeds=dev),
            vae=autoencoder(shift=0.1159, scale=0.3611),
            scheduler=scheduler,
            text_encoder=CLIPTextModel(clip_config(clip_words)),
            tokenizer=clip_words,
            text_encoder_2=t5_encoder(t5_words),
            tokenizer_2=t5_words,
        )
    pipeline.save_pretrained(folder)


def _transformer(*, guidance_embeds: bool) -> Any:
    import diffusers

    network: Any = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=WIDTH // 16,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )
    # As drawn, diffusers' last layer is so small that prompts make no difference.
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(2)
    return network
