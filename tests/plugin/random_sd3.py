"""A policy in one file: Stable Diffusion 3's transformer of any size, with random weights."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from zoo.policy.base import Policy
from zoo.policy.weights import Lora, WeightSets
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup

CHANNELS, SIZE, TOKENS = 16, 16, 32


class RandomSD3(Policy):
    """Makes noise of noise, but needs the memory of a real model of its size."""

    latent_shape = (CHANNELS, SIZE, SIZE)

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        lora: Lora | None = Lora(rank=16, alpha=32),  # noqa: B008
        layers: Annotated[int, Ge(1)] = 6,
        heads: Annotated[int, Ge(1)] = 6,
        bfloat16: bool = False,
    ) -> None:
        """Heads are 64 wide; `bfloat16` keeps a frozen base in it."""
        from diffusers import SD3Transformer2DModel

        width = 64 * heads
        with device, torch.random.fork_rng([]):
            torch.manual_seed(0)
            network: nn.Module = SD3Transformer2DModel(
                sample_size=SIZE, patch_size=2, in_channels=CHANNELS, out_channels=CHANNELS,
                num_layers=layers, num_attention_heads=heads, attention_head_dim=64,
                joint_attention_dim=width, caption_projection_dim=width,
                pooled_projection_dim=width, pos_embed_max_size=SIZE // 2, qk_norm="rms_norm",
            )  # fmt: skip
        if bfloat16:
            network.to(torch.bfloat16)
        network.to(device)  # What was made of numpy's is on the CPU.
        self._device, self._width = device, width
        self._dtype = torch.bfloat16 if bfloat16 else torch.float32
        self.weights = WeightSets(
            network, lora, default_targets=("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
        )

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """The same embedding for every prompt."""
        row = torch.arange(len(prompts), device=self._device)
        words = torch.ones(len(prompts), TOKENS, self._width, device=self._device)
        return Cond({"words": Lookup(words, row), "pooled": Lookup(words[:, 0], row)}, guidance)

    def velocity(
        self, x: Float[Tensor, "batch *latent"], t: Float[Tensor, " batch"], cond: Cond
    ) -> Float[Tensor, "batch *latent"]:
        """One forward; there is no null prompt to guide away from."""
        words, pooled = cond.tensors["words"], cond.tensors["pooled"]
        assert isinstance(words, Lookup)
        assert isinstance(pooled, Lookup)
        out: Tensor = self.weights(
            hidden_states=x.to(self._dtype),
            encoder_hidden_states=words.rows().to(self._dtype),
            pooled_projections=pooled.rows().to(self._dtype),
            timestep=1000 * t,
            return_dict=False,
        )[0]
        return out.float()

    def decode(
        self, latents: Float[Tensor, "batch *latent"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Three of the channels, four times as large."""
        return nn.functional.interpolate(latents[:, :3].sigmoid(), scale_factor=4)

    def latents(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch ..."]:
        """Zeros."""
        return images.new_zeros(len(images), *self.latent_shape)

    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """Even steps."""
        return torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
