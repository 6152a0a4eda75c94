"""A policy: one model family, as operations on prompts, latents and images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zoo import seeds
from zoo.policy.base import Policy
from zoo.policy.weights import Lora, WeightSets
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup

SIZE = 8
WIDTH = 128


class VelocityMLP(nn.Module):
    """The velocity of [batch, 1, 8, 8] latents from themselves, the time and a text embedding."""

    def __init__(self) -> None:
        """Random weights from torch's global generator."""
        super().__init__()
        self.enter = nn.Linear(SIZE * SIZE + 1 + WIDTH, WIDTH)
        self.middle = nn.Linear(WIDTH, WIDTH)
        self.leave = nn.Linear(WIDTH, SIZE * SIZE)

    def forward(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """A row each."""
        joined = torch.cat([x.flatten(1), t[:, None], text], dim=1)
        hidden = nn.functional.silu(self.enter(joined))
        hidden = hidden + nn.functional.silu(self.middle(hidden))
        velocity: Tensor = self.leave(hidden)
        return velocity.view_as(x)


class MyPlugin(Policy):
    """A small network that makes grey images of 8 x 8 pixels, as the digits task has them.

    Without a `checkpoint` its weights are random and its images noise: put your model here.
    """

    latent_shape = (1, SIZE, SIZE)

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        checkpoint: Path | None = None,
        lora: Lora | None = None,
    ) -> None:
        """`checkpoint` is a safetensors file; without `lora` the whole network is trained."""
        # The same random weights on every process.
        with seeds.borrowed(0, "my_plugin"):
            network = VelocityMLP()
        if checkpoint is not None:
            if not checkpoint.is_file():
                raise ValueError(f"no such checkpoint: {checkpoint}; name a safetensors file")
            network.load_state_dict(load_file(checkpoint))
        self._device = device
        self.weights = WeightSets(
            network.to(device), lora, default_targets=("enter", "middle", "leave")
        )

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """The checkpoint that tests load: random, and as small as one of the family can be."""
        with seeds.borrowed(1, "my_plugin"):
            save_file(VelocityMLP().state_dict(), folder / "tiny.safetensors")
        return {"checkpoint": folder / "tiny.safetensors"}

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """A table of embeddings, a row a prompt; guidance also needs that of no prompt."""
        table = torch.stack([_embed(prompt.text) for prompt in prompts]).to(self._device)
        row = torch.arange(len(prompts), device=self._device)
        none = torch.zeros(1, WIDTH, device=self._device)
        return Cond(
            {"text": Lookup(table, row), "none": Lookup(none, torch.zeros_like(row))}, guidance
        )

    def velocity(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """dx/dt at t [batch] in [0, 1], where 0 is data and 1 noise; with the guidance applied."""
        with_prompt = self._forward(x, t, cond.tensors["text"])
        if cond.guidance == 1.0:
            return with_prompt
        # Gradients flow through the branch with the prompt alone.
        with torch.no_grad():
            without = self._forward(x, t, cond.tensors["none"])
        return without + cond.guidance * (with_prompt - without)

    def decode(self, latents: Tensor) -> Tensor:
        """Images [batch, 3, 8, 8] in [0, 1]; latents are grey values in [-1, 1]."""
        return ((latents + 1) / 2).clamp(0, 1).repeat(1, 3, 1, 1)

    def latents(self, images: Tensor) -> Tensor:
        """The latents of images, for training on data."""
        return 2 * images.mean(dim=1, keepdim=True) - 1

    def grid(self, num_steps: int) -> Tensor:
        """Times from 1 down to 0, float64 on the CPU."""
        return torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)

    def _forward(self, x: Tensor, t: Tensor, text: Tensor | Lookup) -> Tensor:
        rows = text.rows() if isinstance(text, Lookup) else text
        # Only so: it is what chooses between live, old, reference and EMA weights.
        velocity: Tensor = self.weights(x=x, t=t, text=rows)
        return velocity


def _embed(text: str) -> Tensor:
    """The mean of a fixed random vector for each word: a stand-in for a text encoder."""
    keys = torch.tensor([seeds.derive("word", word) for word in text.lower().split() or [""]])
    return seeds.Draws(0, "my_plugin", 0, keys).normal((WIDTH,)).mean(0)
