"""A pipeline of Stable Diffusion 3.5's layout with random weights, as large as one wants to time.

The transformer and the autoencoder have the real sizes or smaller ones; the text encoders and what
the transformer takes from them are tiny.
"""

from pathlib import Path
from typing import Any

import torch

from zoo import seeds
from zoo.policy.tiny_pipelines import write_tiny_pipeline

_FULL: dict[str, Any] = {
    # transformer/config.json of stabilityai/stable-diffusion-3.5-medium.
    "num_layers": 24,
    "num_attention_heads": 24,
    "dual_attention_layers": tuple(range(13)),
    "pos_embed_max_size": 384,
    "sample_size": 128,
}
_SMALL: dict[str, Any] = {  # 30M parameters
    "num_layers": 6,
    "num_attention_heads": 6,
    "dual_attention_layers": (0, 1),
    "pos_embed_max_size": 96,
    "sample_size": 32,
}


_PUBLISHED_TEXT, _PUBLISHED_POOLED = 4096, 2048


def transformer(dtype: torch.dtype) -> Any:
    """Stable Diffusion 3.5 Medium's at its published configuration, text widths included."""
    return torch.nn.Module.to(_transformer(_FULL, _PUBLISHED_TEXT, _PUBLISHED_POOLED), dtype)


def write(
    folder: Path, *, full_size: bool, text_width: int = 64, device: torch.device | None = None
) -> None:
    """Writes it; 4.6 GB in bfloat16 at full size, made on the `device`, by default the CPU.

    The transformer takes embeddings of `text_width`, by default the tiny encoders'.
    """
    import diffusers

    write_tiny_pipeline("StableDiffusion3Pipeline", folder)
    sizes = _FULL if full_size else _SMALL
    with seeds.borrowed(0, "random sd3"), device or torch.device("cpu"):
        made = _transformer(sizes, text_width, text_width)
        autoencoder: Any = diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512) if full_size else (32, 64, 128, 128),
            layers_per_block=2 if full_size else 1,
            latent_channels=16,
            shift_factor=0.0609,
            scaling_factor=1.5305,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    dtype = torch.bfloat16 if full_size else torch.float32
    for model, part in ((made, "transformer"), (autoencoder, "vae")):
        torch.nn.Module.to(model, dtype).save_pretrained(folder / part)


def _transformer(sizes: dict[str, Any], text_width: int, pooled_width: int) -> Any:
    import diffusers

    return diffusers.SD3Transformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=16,
        attention_head_dim=64,
        joint_attention_dim=text_width,
        caption_projection_dim=64 * sizes["num_attention_heads"],
        pooled_projection_dim=pooled_width,
        qk_norm="rms_norm",
        **sizes,
    )
