"""A pipeline of Stable Diffusion 3.5 Medium's layout with random weights: 2.5 MB, to try things on.

Everything that the real one has: two CLIP text encoders, T5, an autoencoder of 16 channels, dual
attention in the first block, the scheduler's shift of 3. What it draws is noise.
"""

from pathlib import Path
from typing import Any

from zoo import seeds
from zoo.policy.tiny_parts import (
    WIDTH,
    autoencoder,
    clip_config,
    clip_tokenizer,
    t5_encoder,
    t5_tokenizer,
)


def write(folder: Path) -> None:
    """Writes the pipeline in diffusers' layout; the same weights every time."""
    import diffusers
    from transformers import CLIPTextModelWithProjection

    folder.mkdir(parents=True, exist_ok=True)
    clip_words, t5_words = clip_tokenizer(), t5_tokenizer()
    with seeds.borrowed(0, "tiny sd3"):
        pipeline: Any = diffusers.StableDiffusion3Pipeline(
            transformer=_transformer(),
            vae=autoencoder(shift=0.0609, scale=1.5305),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            text_encoder=CLIPTextModelWithProjection(clip_config(clip_words)),
            tokenizer=clip_words,
            text_encoder_2=CLIPTextModelWithProjection(clip_config(clip_words)),
            tokenizer_2=clip_words,
            text_encoder_3=t5_encoder(t5_words),
            tokenizer_3=t5_words,
        )
    pipeline.save_pretrained(folder)


def _transformer() -> Any:
    import diffusers

    network: Any = diffusers.SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        pos_embed_max_size=32,
        qk_norm="rms_norm",
        dual_attention_layers=(0,),
    )
    # As drawn, diffusers' last layer is so small that prompts make no difference.
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(2)
    return network
