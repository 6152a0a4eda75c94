"""The parts of the model `scenes`: Stable Diffusion 3's pipeline at 2.9M parameters.

The architecture is that of Esser et al. 2024 (arXiv 2403.03206), with images of 32 x 32 pixels in
16 tokens, and prompts in two small CLIPs without T5.
"""

from pathlib import Path
from typing import Any

import torch

from benchmarks.make_scenes.words import tokenizer
from zoo import seeds
from zoo.data.scenes.shapes import SIZE

LATENT_CHANNELS = 4
FACTOR = 4
"""Pixels to a latent, along each axis."""
SHIFT = 1.5
"""Of the times that sampling visits: there is less to a small picture than to SD3's, at 3."""

_WIDTH, _HEADS, _LAYERS = 128, 4, 4
_TEXT_WIDTHS = 96, 32


def new_autoencoder(seed: int) -> Any:
    """With random weights; latents are not scaled yet."""
    import diffusers

    with seeds.borrowed(seed, "scenes autoencoder"):
        return diffusers.AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 32, 48),
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=8,
            sample_size=SIZE,
            scaling_factor=1.0,
            shift_factor=0.0,
            use_quant_conv=False,
            use_post_quant_conv=False,
            mid_block_add_attention=False,
        )


def new_transformer(seed: int) -> Any:
    """With random weights, and an output of zeros to start from."""
    import diffusers

    with seeds.borrowed(seed, "scenes transformer"):
        network: Any = diffusers.SD3Transformer2DModel(
            sample_size=SIZE // FACTOR,
            patch_size=2,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            num_layers=_LAYERS,
            attention_head_dim=_WIDTH // _HEADS,
            num_attention_heads=_HEADS,
            joint_attention_dim=sum(_TEXT_WIDTHS),
            caption_projection_dim=_WIDTH,
            pooled_projection_dim=sum(_TEXT_WIDTHS),
            pos_embed_max_size=SIZE // FACTOR // 2,
            qk_norm="rms_norm",
        )
    for parameter in network.proj_out.parameters():
        torch.nn.init.zeros_(parameter)
    return network


def new_text_encoders(seed: int) -> tuple[Any, Any]:
    """Two CLIPs with random weights: SD3 reads prompts with two."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    words = tokenizer()

    def made(width: int, layers: int) -> Any:
        return CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=width,
                intermediate_size=2 * width,
                num_hidden_layers=layers,
                num_attention_heads=width // 16,
                max_position_embeddings=words.model_max_length,
                projection_dim=width,
                bos_token_id=words.bos_token_id,
                eos_token_id=words.eos_token_id,
                pad_token_id=words.pad_token_id,
            )
        )

    with seeds.borrowed(seed, "scenes text encoders"):
        return made(_TEXT_WIDTHS[0], 2), made(_TEXT_WIDTHS[1], 1)


def pipeline(transformer: Any, encoders: tuple[Any, Any], autoencoder: Any) -> Any:
    """The parts as diffusers' pipeline."""
    import diffusers

    words = tokenizer()
    made: Any = diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        vae=autoencoder,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        text_encoder=encoders[0],
        tokenizer=words,
        text_encoder_2=encoders[1],
        tokenizer_2=words,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    return made


def save(pipe: Any, folder: Path) -> None:
    """Writes a pipeline with its weights in half precision, and then has it as it was."""
    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    for part in networks:
        torch.nn.Module.to(part, torch.float16)
    pipe.save_pretrained(folder)
    for part in networks:
        torch.nn.Module.to(part, torch.float32)
