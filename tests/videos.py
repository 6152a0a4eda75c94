"""A model of videos for tests: the digits model on every frame, from noise of its own."""

import copy
from typing import Annotated

import pytest
import torch
from annotated_types import Ge, Le

from zoo import registry
from zoo.policy.digits import Digits
from zoo.registry import Entry
from zoo.rollout import take

FRAMES = 3


class DigitVideos(Digits):
    """Draws videos of three frames, a digit in each: what makes them videos is to be learned."""

    latent_shape = (1, FRAMES, 8, 8)

    @classmethod
    def makes(cls, options):
        return "videos"

    def velocity(self, x, t, cond):
        """That of each frame, whatever the others are."""
        row = torch.arange(len(x)).repeat_interleave(x.shape[2])
        flat = super().velocity(x.transpose(1, 2).flatten(0, 1), t[row], take(cond, row))
        return flat.unflatten(0, (len(x), x.shape[2])).transpose(1, 2)

    def decode(self, latents):
        """Frames come before channels in pixels."""
        frames = super().decode(latents.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (len(latents), latents.shape[2]))

    def latents(self, images):
        """Those of each frame."""
        return super().latents(images.flatten(0, 1)).unflatten(0, images.shape[:2]).transpose(1, 2)


class DigitVideosOfAnyLength(DigitVideos):
    """The same network for videos of so many frames."""

    sizes = ("frames",)

    def __init__(self, device: torch.device, /, *, frames: Annotated[int, Ge(1), Le(9)] = FRAMES):
        super().__init__(device)
        self.latent_shape = (1, frames, 8, 8)

    def sized(self, size):
        if size["frames"] == 7:
            raise ValueError("this model makes no 7 frames; write 8")
        other = copy.copy(self)
        other.latent_shape = (1, size["frames"], 8, 8)
        return other

    def findings(self):
        """As a pipeline's policy has them."""
        return {"latents": list(self.latent_shape), "diffusers": "0"}


ENTRY = Entry("policies", "digit_videos", "tests.videos:DigitVideos", "zoo-tests", "1.0")
ENTRIES = [
    ENTRY,
    Entry("policies", "any_videos", "tests.videos:DigitVideosOfAnyLength", "zoo-tests", "1.0"),
]

CHANGES = {
    "policy": "{name: digit_videos}",
    "rewards": "[{name: digit, frames: mean}, {name: smoothness}]",
    "eval": "{every: 1, steps: 2, images_per_prompt: 2, fps: 4,"
    " rewards: [{name: digit, frames: mean}, {name: digit_judge, frames: {sample: 2}}]}",
    "data.groups_per_epoch": 3,
    "data.group_size": 4,
    "sampler.steps": 3,
    "optim.updates_per_epoch": 2,
    "engine.micro_batch": "{sample: 5, train: 6}",
    "epochs": 2,
}
"""Of a digits recipe, to train it on videos."""


def register_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has recipes find the policies."""
    installed = registry.entries

    def entries(kind: str) -> tuple[Entry, ...]:
        return (*installed(kind), *(ENTRIES if kind == ENTRY.kind else []))

    monkeypatch.setattr(registry, "entries", entries)
