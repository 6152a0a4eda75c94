"""A model and rewards of published layouts, random and large enough that their bytes are measured.

The proportions are those of Stable Diffusion 3.5 with several rewards: the text encoders together,
and the rewards, are each larger than the network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import random_sd3
from tests.runs import written
from tests.tiny_models import write_sd3
from zoo import seeds
from zoo.policy.tiny import clip_config, clip_tokenizer, t5_tokenizer
from zoo.reward.image_reward import ImageReward, write_random
from zoo.reward.networks.blip import Sizes
from zoo.reward.pickscore import PickScore

_T5_WIDTH, _CLIP_WIDTH = 512, 256
_BLIP = Sizes(64, 16, 512, 8, 512, 4, 2048, 120, 40)
SHORT = (
    "eval={every: 2, steps: 1, images_per_prompt: 1}",
    "data.eval=builtin:digits/eval",
    "epochs=2",
)
LORA = "{rank: 16, alpha: 32}"
WHOLE_RUNS = {
    "whole run: NFT with LoRA": (LORA, ()),
    "whole run: Flow-GRPO with LoRA": (
        LORA,
        ("objective={name: flow_grpo}", "sampler={solver: {name: flow_sde}, steps: 4}"),
    ),
    "whole run: full fine-tuning": ("null", ()),
    "whole run: full fine-tuning in bfloat16": ("null", ("policy.dtype=bfloat16",)),
}
"""By name, what is trained, and the overrides besides."""


@dataclass(frozen=True)
class Written:
    """The overrides of a recipe that name what was written, and those of a tiny one."""

    whole: tuple[str, ...]
    tiny: tuple[str, ...]


def write(folder: Path, lora: str) -> Written:
    """Writes a transformer of 30M parameters, encoders of 44M, rewards of 76M, in float32."""
    large, small = folder / "large", folder / "small"
    random_sd3.write(large / "sd3", full_size=False, text_width=_T5_WIDTH)
    _write_encoders(large / "sd3")
    _write_clip(large / "clip")
    blip = write_random(large / "blip", _BLIP)
    model = {"pretrained": str(large / "sd3"), "resolution": 128, "max_text_tokens": 32}
    clip = {"model": str(large / "clip"), "tokenizer": str(large / "clip")}
    return Written(
        _overrides({**model, "dtype": "float32"}, clip, blip, lora),
        _overrides(
            write_sd3(small / "sd3"),
            PickScore.write_tiny(small / "clip"),
            ImageReward.write_tiny(small / "blip"),
            lora,
        ),
    )


def _overrides(
    model: dict[str, Any], clip: dict[str, Any], blip: dict[str, Any], lora: str
) -> tuple[str, ...]:
    options = {key: value for key, value in model.items() if value is not None}
    pickscore = f"{{name: pickscore, {written(clip)}}}"
    image_reward = f"{{name: image_reward, {written(blip)}}}"
    return (
        f"policy={{name: diffusers, {written(options)}, lora: {lora}}}",
        f"rewards=[{pickscore}, {image_reward}]",
        *SHORT,
    )


def _write_encoders(folder: Path) -> None:
    from transformers import (
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        T5Config,
        T5EncoderModel,
    )

    words = clip_tokenizer()
    sizes = {
        "hidden_size": _CLIP_WIDTH,
        "intermediate_size": 4 * _CLIP_WIDTH,
        "num_hidden_layers": 12,
        "projection_dim": _CLIP_WIDTH,
    }
    clip = CLIPTextConfig(**{**clip_config(words).to_dict(), **sizes})
    t5 = T5Config(
        vocab_size=len(t5_tokenizer()), d_model=_T5_WIDTH, d_kv=64, d_ff=4 * _T5_WIDTH,
        num_layers=8, num_heads=8, tie_word_embeddings=False, is_encoder_decoder=False,
    )  # fmt: skip
    with seeds.borrowed(0, "real shapes"):
        for part in ("text_encoder", "text_encoder_2"):
            CLIPTextModelWithProjection(clip).save_pretrained(folder / part)
        T5EncoderModel(t5).save_pretrained(folder / "text_encoder_3")


def _write_clip(folder: Path) -> None:
    """As the tiny one, but large."""
    from transformers import CLIPConfig, CLIPModel

    PickScore.write_tiny(folder)
    tiny = CLIPConfig.from_pretrained(folder)
    sizes = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6}
    with seeds.borrowed(0, "real shapes"):
        model = CLIPModel(
            CLIPConfig(
                text_config={**tiny.text_config.to_dict(), **sizes, "num_hidden_layers": 6},
                vision_config={**tiny.vision_config.to_dict(), **sizes, "num_hidden_layers": 12},
                projection_dim=384,
            )
        )
    model.save_pretrained(folder)
