"""What no rule can know of an autoencoder: a few options by its class."""

from collections.abc import Callable, Mapping
from typing import Any

from zoo.policy.tiny_pipelines.known import Known
from zoo.policy.tiny_pipelines.shrink import GROUPS, SIDE

Options = dict[str, Any]

WAN22_AUTOENCODER: Mapping[str, Any] = {
    "z_dim": 48,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}
"""As published with Wan 2.2's smaller model and with Fibo, beside its size."""
AUDIO_CHANNELS = 32
"""Of LTX-2's latents of sound."""


def _causal_autoencoder(known: Known) -> Options:
    """Editing pipelines read a picture with a side of 1024 pixels: in a short way, few tokens."""
    if "Edit" not in known.name and "Layered" not in known.name:
        return {}
    return {
        "base_dim": 4,
        "dim_mult": [1] * 5,
        "num_res_blocks": 0,
        "temperal_downsample": [False, True, True, True],
    }


AUTOENCODERS: Mapping[str, Callable[[Known], Options]] = {
    "AutoencoderKLTemporalDecoder": lambda known: {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "block_out_channels": (32,) * 4,
    },
    "AutoencoderKLMochi": lambda known: {
        # Its group norms have 32 groups.
        "encoder_block_out_channels": (32, 32, 64, 64),
        "decoder_block_out_channels": (32, 32, 64, 64),
    },
    "AutoencoderKLLTX2Video": lambda known: {
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    },
    "AutoencoderKLLTX2Audio": lambda known: {
        # Latents have as many channels as its first layer; a quarter of the bins, 8 times.
        "base_channels": AUDIO_CHANNELS,
        "mel_bins": AUDIO_CHANNELS // 2,
    },
    "LTX2Vocoder": lambda known: {"in_channels": AUDIO_CHANNELS},
    "AutoencoderKLWan": lambda known: dict(WAN22_AUTOENCODER) if known.latents == 48 else {},
    "AutoencoderKLQwenImage": _causal_autoencoder,
    "AutoencoderKLHunyuanImage": lambda known: {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": known.latents,
        # Its group norms have 32 groups.
        "block_out_channels": (32, 32, 32, 32, 64, 64),
        "layers_per_block": 1,
        "spatial_compression_ratio": 32,
        "sample_size": SIDE,
        "scaling_factor": 0.75,
    },
    "AutoencoderKL": lambda known: {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 16, 16),
        "norm_num_groups": GROUPS,
        "latent_channels": known.latents,
        "sample_size": SIDE,
        **({"shift_factor": 0.1159, "scaling_factor": 0.3611} if known.latents > 4 else {}),
    },
}
"""Those of 16 channels have FLUX.1's shift and scale."""
