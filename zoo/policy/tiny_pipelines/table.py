"""What no rule can know of the other components of a pipeline, by a class that says which it is."""

from collections.abc import Mapping
from typing import Any

from zoo.policy.tiny_pipelines.denoiser_table import KREA2_LAYERS

Options = dict[str, Any]

_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}

SCHEDULERS: Mapping[str, Options] = {
    "SanaTransformer2DModel": _FLOW,
    "SanaVideoTransformer3DModel": _FLOW,
    "Ideogram4Transformer2DModel": {"shift": 1.0},
    # It mixes shifted times with others.
    "LTXConditionPipeline": {"shift": 1.0},
    "HeliosPipeline": {"stages": 1, "stage_range": [0, 1]},
    # With a third, the covariance of its noise is singular.
    "HeliosPyramidPipeline": {"gamma": 0.3},
}
"""Of the schedulers of a pipeline or of a denoiser's, whose class also serves others."""

LATENTS: Mapping[str, int] = {
    "HiDreamImageTransformer2DModel": 16,
    "HunyuanImageTransformer2DModel": 32,
    "Kandinsky5Transformer3DModel": 16,
    "BriaFiboTransformer2DModel": 48,
    "HunyuanDiT2DModel": 4,
    "LatteTransformer3DModel": 4,
}
"""Channels of the autoencoder of a denoiser, where its own default does not say."""

CHOICES: Mapping[str, Mapping[str, str]] = {
    "SanaVideoTransformer3DModel": {"vae": "AutoencoderKLWan"},
    "Ideogram4Transformer2DModel": {"text_encoder": "Qwen3VLModel"},
    "SanaSprintPipeline": {"scheduler": "SCMScheduler"},
    "SanaSprintImg2ImgPipeline": {"scheduler": "SCMScheduler"},
}
"""The classes of a pipeline's or a denoiser's components, where annotations say others or none."""

ENCODERS: Mapping[str, Options] = {
    # A prompt without a word is written as a token that has this number.
    "SmolLM3ForCausalLM": {"vocab_size": 128001, "hidden_size": 16},
    "T5Gemma2Encoder": {"dropout_rate": 0.0},
}
"""Of a text encoder's configuration, or that of its part for texts."""

TEXT_LAYERS: Mapping[str, int] = {"NucleusMoEImageTransformer2DModel": 9}
"""How many the text encoder of a denoiser's pipelines has, where they count from the last."""

CLIP_POSITIONS: Mapping[str, int] = {"HiDreamImageTransformer2DModel": 248}
"""Tokens that the CLIP of a denoiser's pipelines reads, where they are not 77."""

QUIET = ("AutoencoderKLQwenImage",)
"""Networks beside those that denoise through which little of a prompt comes as they are drawn."""

PIPELINES: Mapping[str, Options] = {
    "Krea2Transformer2DModel": {"text_encoder_select_layers": KREA2_LAYERS},
}
"""Options of the constructor of a denoiser's pipelines."""
