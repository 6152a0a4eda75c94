"""What no rule can know of a network that denoises: a few options by its class."""

from collections.abc import Callable, Mapping
from typing import Any

from zoo.policy.tiny_pipelines.autoencoder_table import AUDIO_CHANNELS
from zoo.policy.tiny_pipelines.known import Known
from zoo.policy.tiny_pipelines.shrink import CLIP_WIDTH, DEPTH, HEAD_WIDTH, HEADS, SIDE, WIDTH, axes

Options = dict[str, Any]

_TIME_WIDTH = 8
KREA2_LAYERS = (1, 2)
"""Whose outputs Krea 2 takes of its text encoder."""


def _unet(known: Known) -> Options:
    options: Options = {
        "sample_size": SIDE // 8,
        # A picture in place of words is one token, as CLIP projects it.
        "cross_attention_dim": known.words or CLIP_WIDTH,
        "attention_head_dim": HEADS,
        "in_channels": known.latents * (2 if "Pix2Pix" in known.name else 1),
        "out_channels": known.latents,
    }
    if "vae" not in known.slots:
        # DeepFloyd's, on pixels: the noise and its variance.
        options |= {"sample_size": SIDE, "in_channels": 3, "out_channels": 6}
    if "LatentConsistency" in known.name:
        options["time_cond_proj_dim"] = WIDTH
    if "text_encoder_2" in known.slots:
        options["addition_embed_type"] = "text_time"
        options["addition_time_embed_dim"] = _TIME_WIDTH
        options["projection_class_embeddings_input_dim"] = 6 * _TIME_WIDTH + CLIP_WIDTH
    return options


def _flux(known: Known) -> Options:
    """Beside the noise come a control's latents, or a picture's and the pixels of a mask."""
    beside = 0
    if "Fill" in known.name:
        beside = known.latents + 8 * 8
    elif "Control" in known.name and "ControlNet" not in known.name:
        beside = known.latents
    return {
        "in_channels": 4 * (known.latents + beside),
        "out_channels": 4 * known.latents,
        "pooled_projection_dim": known.pooled,
        "guidance_embeds": True,
    }


def _wan(known: Known) -> Options:
    """A picture's latents and a mask of frames come beside the noise, CLIP's tokens where it is."""
    if "Edit" in known.name and "Chrono" not in known.name:
        return {"in_channels": 2 * known.latents}
    if "ImageToVideo" not in known.name and "Chrono" not in known.name:
        return {}
    options: Options = {"in_channels": 2 * known.latents + 4}
    if known.image:
        options |= {"image_dim": known.image, "added_kv_proj_dim": WIDTH}
    return options


def _kandinsky5(known: Known) -> Options:
    return {
        "in_visual_dim": known.latents,
        "out_visual_dim": known.latents,
        "in_text_dim2": known.pooled,
        "visual_cond": "T2I" not in known.name,
    }


def _with_picture(known: Known) -> Options:
    """A picture's or a control's latents come beside the noise."""
    beside = "ImageTo" in known.name or "Control" in known.name
    return {"in_channels": known.latents * (2 if beside else 1)}


def _patches(known: Known) -> Options:
    """What has no default: of a network on patches of two by two, conditioned as PixArt is."""
    return {
        "in_channels": known.latents,
        "out_channels": 2 * known.latents,
        "patch_size": 2,
        "caption_channels": known.words,
        "cross_attention_dim": WIDTH,
        "num_embeds_ada_norm": 1000,
        "norm_type": "ada_norm_single",
        "activation_fn": "gelu-approximate",
    }


DENOISERS: Mapping[str, Callable[[Known], Options]] = {
    "UNet2DConditionModel": _unet,
    "SD3Transformer2DModel": lambda known: {
        "pooled_projection_dim": known.pooled,
        "qk_norm": "rms_norm",
        "dual_attention_layers": (0,),
    },
    "FluxTransformer2DModel": _flux,
    "UNetSpatioTemporalConditionModel": lambda known: {
        # Its group norms have 32 groups.
        "block_out_channels": (32, 32, 64, 64),
        "num_attention_heads": (HEADS,) * 4,
        "cross_attention_dim": CLIP_WIDTH,
        "addition_time_embed_dim": _TIME_WIDTH,
        "projection_class_embeddings_input_dim": 3 * _TIME_WIDTH,
    },
    "WanVACETransformer3DModel": lambda known: {"vace_layers": (0, 1)},
    "Lumina2Transformer2DModel": lambda known: {"multiple_of": WIDTH},
    "LuminaNextDiT2DModel": lambda known: {"multiple_of": WIDTH, "num_kv_heads": HEADS},
    "Flux2Transformer2DModel": lambda known: {
        "joint_attention_dim": len(known.layers) * known.words,
        "guidance_embeds": "Klein" not in known.name,
    },
    "WanTransformer3DModel": _wan,
    "SkyReelsV2Transformer3DModel": lambda known: _wan(known) if known.image else {},
    "SanaTransformer2DModel": lambda known: {"guidance_embeds": "Sprint" in known.name},
    "ChronoEditTransformer3DModel": _wan,
    "AnyFlowFARTransformer3DModel": lambda known: {"chunk_partition": (1, 1)},
    "HunyuanVideoTransformer3DModel": lambda known: {
        "in_channels": known.latents * (2 if "Skyreels" in known.name else 1),
        "pooled_projection_dim": known.pooled,
    },
    "HunyuanVideoFramepackTransformer3DModel": lambda known: {
        "pooled_projection_dim": known.pooled,
        "has_image_proj": True,
        "image_proj_dim": known.image,
        "has_clean_x_embedder": True,
    },
    "DreamLiteUNetModel": lambda known: {
        "sample_size": SIDE // 8,
        "cross_attention_dim": known.words,
        "attention_head_dim": HEADS,
    },
    "EasyAnimateTransformer3DModel": lambda known: {
        "in_channels": known.latents,
        "out_channels": known.latents,
        "patch_size": 2,
    },
    "HunyuanImageTransformer2DModel": lambda known: {
        "in_channels": known.latents,
        "out_channels": known.latents,
        "text_embed_2_dim": known.second,
    },
    "HiDreamImageTransformer2DModel": lambda known: {
        "in_channels": known.latents,
        "patch_size": 2,
        "caption_channels": (known.words, known.second),
        "text_emb_dim": known.pooled,
        "llama_layers": (0, 1) * DEPTH,
        "axes_dims_rope": axes((64, 32, 32), HEAD_WIDTH),
        "max_resolution": (SIDE // 8, SIDE // 8),
    },
    "Kandinsky5Transformer3DModel": _kandinsky5,
    "Kandinsky6Transformer3DModel": lambda known: {
        "in_text_dim2": known.pooled,
        "visual_token_type_num_embeddings": 2,
    },
    "CogVideoXTransformer3DModel": _with_picture,
    "CogView4Transformer2DModel": lambda known: {
        "in_channels": known.latents * (2 if "Control" in known.name else 1),
        "rope_axes_dim": (256, 256),
    },
    "AuraFlowTransformer2DModel": lambda known: {"pos_embed_max_size": 1024},
    "PixArtTransformer2DModel": _patches,
    "LatteTransformer3DModel": lambda known: {**_patches(known), "num_layers": DEPTH},
    "AllegroTransformer3DModel": lambda known: {
        # Its rotary embedding splits a head by three.
        "attention_head_dim": 12,
        "cross_attention_dim": 12 * HEADS,
    },
    "HunyuanDiT2DModel": lambda known: {"in_channels": known.latents, "patch_size": 2},
    "Krea2Transformer2DModel": lambda known: {"num_text_layers": len(KREA2_LAYERS)},
    "BriaFiboTransformer2DModel": lambda known: {
        "in_channels": known.latents,
        "joint_attention_dim": 2 * known.words,
        "text_encoder_dim": known.words,
    },
    "PRXTransformer2DModel": lambda known: {
        "in_channels": known.latents if "vae" in known.slots else 3,
        "axes_dim": (HEAD_WIDTH // 2, HEAD_WIDTH // 2),
    },
    "NucleusMoEImageTransformer2DModel": lambda known: {
        "dense_moe_strategy": "leave_first_block_dense",
        "moe_intermediate_dim": WIDTH,
        "capacity_factors": 2.0,
        "out_channels": known.latents,
    },
    "MotifVideoTransformer3DModel": lambda known: {
        "image_embed_dim": WIDTH if "Image2Video" in known.name else None,
    },
    "OmniGenTransformer2DModel": lambda known: {
        "vocab_size": known.tokens,
        "pad_token_id": 0,
        "rope_scaling": {
            "short_factor": [1.0] * (HEAD_WIDTH // 2),
            "long_factor": [1.0] * (HEAD_WIDTH // 2),
        },
    },
    "HunyuanVideo15Transformer3DModel": lambda known: {
        "target_size": SIDE,
        "image_embed_dim": known.image or WIDTH,
    },
    "Ideogram4Transformer2DModel": lambda known: {
        "llm_features_dim": len(known.layers) * known.words,
    },
    "BriaFibo2Transformer2DModel": lambda known: {
        "cap_feat_dim": len(known.layers) * known.words,
        "n_layers": 6,
        "injection_layer_ids": (0, 1, 2, 3, 4),
        "min_num_gist_tokens": 16,
        "max_num_gist_tokens": 32,
        "gist_step": 16,
        "gist_min_text_len": 16,
    },
    "LTX2VideoTransformer3DModel": lambda known: {
        "audio_in_channels": AUDIO_CHANNELS,
        "audio_out_channels": AUDIO_CHANNELS,
    },
    "LTX2TextConnectors": lambda known: {"text_proj_in_factor": 1 + DEPTH},
}
"""And of the network of LTX-2 that prepares words for it."""
