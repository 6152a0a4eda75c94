"""The part of the latents that a pipeline moves, where it keeps the rest as it prepared it.

Image-to-video pipelines keep a clean first frame among the latents, others channels of a condition.
A latent of the policy is then the smallest box of what is prepared that holds all that is moved and
all that is decoded. What of it is kept is a flow whose end c is known, dx/dt = (x - c) / t, which
every solver follows there. So a latent needs nothing beside it to be decoded.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zoo.devices import send


class Part:
    """Which numbers of prepared latents a latent is, which of them move, and where others are."""

    def __init__(
        self,
        box: Sequence[tuple[int, int]],
        place: Int[Tensor, " sample"],
        moved: Bool[Tensor, " latent"],
        *,
        kept: int = 0,
    ) -> None:
        """`place` is of each number of what is stepped that in a flat latent.

        `kept` is which of the results of `prepare_latents` has what is kept; 0 are the latents.
        """
        self.box, self.kept = tuple(box), kept
        self.shape = tuple(stop - start for start, stop in self.box)
        self._inside = (slice(None), *(slice(start, stop) for start, stop in self.box))
        self._place, self._moved = place, moved
        self._in_order = torch.equal(place, torch.arange(len(moved), device=place.device))
        self._there: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def told(self, prepared: Sequence[Any], x: Float[Tensor, "batch *latent"]) -> tuple[Any, ...]:
        """What is prepared for a step: the latent, and of the rest what the pipeline keeps."""
        first, *rest = prepared
        if self.kept:
            return (x, *rest)
        _, moved = self._on(x.device)
        whole = send(first, x.device, torch.float32)
        inner = torch.where(moved, x.flatten(1), whole[self._inside].flatten(1)).reshape(x.shape)
        if inner.shape != whole.shape:
            whole = whole.clone()
            whole[self._inside] = inner
            return (whole, *rest)
        return (inner, *rest)

    def ended(self, prepared: Sequence[Any], x: Float[Tensor, "batch *latent"]) -> tuple[Any, ...]:
        """What is prepared to be decoded: all of the latent."""
        first, *rest = prepared
        if self.kept:
            return (x, *rest[: self.kept - 1], x, *rest[self.kept :])
        whole = send(first, x.device, torch.float32).clone()
        whole[self._inside] = x
        return (whole, *rest)

    def rest(self, prepared: Sequence[Any]) -> Float[Tensor, "batch *latent"]:
        """What the pipeline keeps, in the place that it has in a latent."""
        kept = prepared[self.kept].float()
        if self.kept:
            return kept.expand(-1, *self.shape)  # type: ignore[no-any-return]
        return kept[self._inside]  # type: ignore[no-any-return]

    def spread(self, stepped: Float[Tensor, "batch *sample"]) -> Float[Tensor, "batch latent"]:
        """What is stepped in the places that it has in a latent, flat; 0 for what is kept."""
        place, moved = self._on(stepped.device)
        flat = stepped.flatten(1)
        if not self._in_order:
            flat = flat.new_zeros(len(flat), len(moved)).index_copy(1, place, flat)
        return flat * moved

    def latent(self, stepped: Tensor, prepared: Sequence[Any]) -> Float[Tensor, "batch *latent"]:
        """What is stepped, and what is kept beside it."""
        kept = send(self.rest(prepared), stepped.device).flatten(1)
        return self.filled(self.spread(stepped.float()), kept).reshape(-1, *self.shape)

    def filled(
        self, moving: Float[Tensor, "batch latent"], kept: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, "batch latent"]:
        """The one in the places of what moves, the other in those of what is kept."""
        return torch.where(self._on(moving.device)[1], moving, kept)

    def fields(self) -> dict[str, Any]:
        """What it is made of: the arguments of its constructor."""
        return {"box": self.box, "place": self._place, "moved": self._moved, "kept": self.kept}

    @property
    def keeps(self) -> bool:
        """Whether any of a latent is kept, and not all moves."""
        return not bool(self._moved.all())

    def describe(self) -> str:
        """In words."""
        kept = int((~self._moved).sum())
        return f"{kept} of the {len(self._moved)} numbers of a latent as it prepares them"

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._there:
            self._there[device] = self._place.to(device), self._moved.to(device)
        return self._there[device]
