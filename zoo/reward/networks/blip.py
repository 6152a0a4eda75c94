"""ImageReward's network on transformers' own BLIP, and where its published weights go.

Xu et al. 2023, arXiv 2304.05977; BLIP: Li et al. 2022, arXiv 2201.12086. The names and sizes are
those of the package image-reward 1.5, whose files are read as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zoo.reward.base import PerImage
from zoo.seeds import borrowed

# ImageReward/ImageReward.py of image-reward 1.5: what the scores are shifted and divided by, and
# the widths of the MLP, which has no activations.
_MEAN, _STD = 0.16717362830052426, 1.0333394966054072
_MLP = (1024, 128, 64, 16, 1)
# Of every ViT and BERT that BLIP is made of; the number of heads leaves no trace in the weights.
_HEAD = 64

_VISION, _TEXT, _TOP = "blip.visual_encoder.", "blip.text_encoder.", "mlp.layers."
# From transformers' names to the published ones, one after the other.
_RENAMED = (
    ("embeddings.class_embedding", "cls_token"),
    ("embeddings.position_embedding", "pos_embed"),
    ("embeddings.patch_embedding.", "patch_embed.proj."),
    ("encoder.layers.", "blocks."),
    ("post_layernorm.", "norm."),
    (".layer_norm", ".norm"),
    (".self_attn.projection.", ".attn.proj."),
    (".self_attn.", ".attn."),
)


@dataclass(frozen=True)
class Sizes:
    """Of a BLIP: `image` and `patch` in pixels, then counts and widths of both transformers."""

    image: int
    patch: int
    vision_width: int
    vision_layers: int
    text_width: int
    text_layers: int
    text_hidden: int
    num_words: int
    num_positions: int

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], source: str) -> "Sizes":
        """Those of published weights.

        Raises:
            ValueError: they are not ImageReward's.
        """
        try:
            patches = weights[_VISION + "pos_embed"].shape[1] - 1
            patch = weights[_VISION + "patch_embed.proj.weight"].shape[-1]
            words = weights[_TEXT + "embeddings.word_embeddings.weight"]
            return cls(
                image=round(patches**0.5) * patch,
                patch=patch,
                vision_width=weights[_VISION + "cls_token"].shape[-1],
                vision_layers=_count(weights, _VISION + "blocks.{}.norm1.weight"),
                text_width=words.shape[1],
                text_layers=_count(weights, _TEXT + "encoder.layer.{}.output.dense.weight"),
                text_hidden=len(weights[_TEXT + "encoder.layer.0.intermediate.dense.bias"]),
                num_words=len(words),
                num_positions=len(weights[_TEXT + "embeddings.position_embeddings.weight"]),
            )
        except KeyError as error:
            raise ValueError(
                f"the weights {source!r} are not ImageReward's: they have no {error}; "
                "use ImageReward.pt of THUDM/ImageReward"
            ) from None


FULL = Sizes(224, 16, 1024, 24, 768, 12, 3072, 30524, 512)
"""ImageReward v1.0: a ViT-L/16 and a BERT-base."""

TINY = Sizes(32, 16, 64, 2, 64, 2, 128, 120, 40)


class Network(nn.Module):
    """BLIP's two encoders and the MLP, without weights until `take`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        from transformers import BlipTextConfig, BlipVisionConfig, BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        vision = BlipVisionConfig(
            hidden_size=sizes.vision_width,
            intermediate_size=4 * sizes.vision_width,
            num_hidden_layers=sizes.vision_layers,
            num_attention_heads=sizes.vision_width // _HEAD,
            image_size=sizes.image,
            patch_size=sizes.patch,
            # timm's, which BLIP was trained with; transformers' default is another.
            layer_norm_eps=1e-6,
            hidden_act="gelu",
        )
        text = BlipTextConfig(
            vocab_size=sizes.num_words,
            hidden_size=sizes.text_width,
            encoder_hidden_size=sizes.vision_width,
            intermediate_size=sizes.text_hidden,
            num_hidden_layers=sizes.text_layers,
            num_attention_heads=sizes.text_width // _HEAD,
            max_position_embeddings=sizes.num_positions,
            layer_norm_eps=1e-12,
            hidden_act="gelu",
            pad_token_id=0,
            # Its default is a row of the published vocabulary.
            bos_token_id=None,
            # Without it the text encoder has no cross-attention.
            is_decoder=True,
            use_cache=False,
        )
        # Random weights would cost seconds and draw from the run's own generator.
        with torch.device("meta"):
            self.vision = BlipVisionModel(vision)
            self.text = BlipTextModel(text, add_pooling_layer=False)
            self.mlp = _mlp(sizes.text_width)
        # A buffer that no file has.
        self.text.embeddings.position_ids = torch.arange(sizes.num_positions).unsqueeze(0)

    def take(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Takes over published weights.

        Raises:
            ValueError: some are missing, left over or of another shape.
        """
        wanted = {name: _published_name(name) for name in self.state_dict()}
        missing = sorted(set(wanted.values()) - weights.keys())
        # The two projections are BLIP's for pre-training, and position_ids are 0, 1, 2, ...
        ours = {name for name in weights if name.startswith((_VISION, _TEXT, _TOP))}
        left = sorted(ours - set(wanted.values()) - {_TEXT + "embeddings.position_ids"})
        if missing or left:
            what = f"they have no {missing[0]!r}" if missing else f"{left[0]!r} is unknown"
            raise ValueError(
                f"the weights {source!r} are not ImageReward's: {what} "
                f"({len(missing)} missing, {len(left)} unknown); "
                "use ImageReward.pt of THUDM/ImageReward"
            )
        tensors = {name: weights[theirs].float() for name, theirs in wanted.items()}
        for name, value in self.state_dict().items():
            if tensors[name].shape != value.shape:
                raise ValueError(
                    f"{wanted[name]!r} in the weights {source!r} is of shape "
                    f"{list(tensors[name].shape)}, not {list(value.shape)}; "
                    "use ImageReward.pt of THUDM/ImageReward"
                )
        self.load_state_dict(tensors, assign=True)

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Goes to a device to be used only: BLIP in this dtype, the MLP in float32."""
        self.vision.to(device, dtype)
        self.text.to(device, dtype)
        self.mlp.to(device)
        self.eval().requires_grad_(False)

    def forward(
        self,
        ids: Int[Tensor, "batch tokens"],
        mask: Int[Tensor, "batch tokens"],
        pixels: Float[Tensor, "batch 3 size size"],
    ) -> PerImage:
        """The published scores; masked tokens are not read."""
        seen = self.vision(pixel_values=pixels.to(self.vision.dtype)).last_hidden_state
        read = self.text(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones_like(seen[..., 0], dtype=torch.long),
            # This one is about the mask: every token sees all of the prompt.
            is_decoder=False,
            return_dict=True,
        ).last_hidden_state
        rating: Tensor = self.mlp(read[:, 0].float()).squeeze(1)
        return (rating - _MEAN) / _STD


def num_parameters(sizes: Sizes) -> int:
    """How many numbers the network has."""
    return sum(p.numel() for p in Network(sizes).parameters())


def _mlp(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, out in enumerate(_MLP):
        layers.append(nn.Linear((width, *_MLP)[i], out))
        # Dropout in the package: nothing to compute, but it counts in the published names.
        layers += [nn.Identity()] if i < 3 else []
    return nn.Sequential(*layers)


def _published_name(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "vision":
        for ours, theirs in _RENAMED:
            rest = rest.replace(ours, theirs)
    return {"vision": _VISION, "text": _TEXT, "mlp": _TOP}[part] + rest


def random_weights(sizes: Sizes) -> dict[str, Tensor]:
    """Weights under their published names, at scales that keep scores of other inputs apart."""
    with borrowed(0, "image_reward"):
        return {
            _published_name(name): _random(name, value.shape)
            for name, value in Network(sizes).state_dict().items()
        }


def _random(name: str, shape: torch.Size) -> Tensor:
    noise = torch.randn(shape)
    if len(shape) == 1:
        is_norm = name.endswith("weight")
        return 1.0 + 0.1 * noise if is_norm else 0.1 * noise
    fan_in = prod(shape[1:]) if len(shape) == 4 else shape[-1]
    # Words are looked at, not only averaged: else all prompts score nearly the same.
    gain = 3.0 if "query" in name or "key" in name else 1.0
    return gain * noise / float(fan_in**0.5)


def _count(weights: Mapping[str, Tensor], name: str) -> int:
    return next(i for i in range(len(weights) + 1) if name.format(i) not in weights)
