"""What stored images cost an epoch, on shapes alone: as `zoo.training.stored` reads them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.plan.flops import counter
from zoo.plan.geometry import Plan
from zoo.plan.live_bytes import META
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.recipe.model import Recipe
from zoo.rollout import Path
from zoo.sampler.base import StoredImages
from zoo.training.looks import look
from zoo.training.micro_batches import largest_shard
from zoo.training.stored import TOGETHER, EncodedImage, encode_together


class StoredOnShapes:
    """Stored images: encoded a few at a time, and decoded only where a reward reads pixels."""

    def __init__(
        self,
        recipe: Recipe,
        planned: Plan,
        policy: Policy,
        stored: StoredImages,
        prompts: Sequence[Prompt],
    ) -> None:
        """Of an epoch that draws from these prompts; the policy is on the meta device."""
        self._policy, rows = policy, planned.sampling.rows
        self._together = min(rows, TOGETHER)
        self._reads_pixels = any(reward.cls.reads_pixels for reward in recipe.rewards)
        with META, torch.no_grad():
            self._size = policy.decode(torch.zeros(1, *policy.latent_shape)).shape[-2:]
            self._latents = torch.zeros(rows, *policy.latent_shape)
        looks = look(torch.zeros(1, 3, *self._size), torch.zeros(1, *policy.latent_shape))
        one = EncodedImage(self._latents[0], looks.thumbnail[0], looks.measures[0])
        self._encoded = mean_encoded(
            len({image for prompt in prompts for image in prompt.images}),
            largest_shard(planned.groups, size=planned.processes) * planned.group_size,
            epochs=recipe.epochs,
            kept=int(stored.cache_gb * 1e9 // one.num_bytes),
        )

    def read(self, rows: int) -> tuple[Path, Tensor]:
        """A micro-batch for which images have to be encoded; its pixels, if it has any."""
        self._encode()
        clean = self._latents[:rows].clone()
        return Path(clean, 0), self._decode(clean)

    def count_flops(self, micro_batches: int) -> int:
        """Of an epoch, on the average of a run."""
        encoding, decoding = counter(), counter()
        with encoding:
            self._encode()
        with decoding:
            self._decode(self._latents)
        an_image = encoding.get_total_flops() / self._together
        return round(an_image * self._encoded) + decoding.get_total_flops() * micro_batches

    def _encode(self) -> None:
        pixels = torch.zeros(self._together, 3, *self._size, device=META)
        encode_together(self._policy, pixels, self._together)

    @torch.no_grad()
    def _decode(self, clean: Tensor) -> Tensor:
        return self._policy.decode(clean) if self._reads_pixels else clean.new_zeros(0)


def mean_encoded(stored: int, drawn: int, *, epochs: int, kept: int) -> float:
    """How many images a process is expected to encode in an epoch, on the average of a run.

    Each epoch draws so many of the `stored` ones anew, of which a process keeps at most `kept`.
    """
    drawn, known, encoded = min(drawn, stored), 0.0, 0.0
    for _ in range(epochs):
        new = drawn * (1 - known / stored)
        encoded, known = encoded + new, min(known + new, kept)
    return encoded / epochs
