"""The velocity of what a pipeline keeps among its latents: from noise straight to what it kept."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.policy.pipeline.contract import Contract
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.told import Group, Told

_SOONEST = 1e-6
"""A time of data is none at which a velocity is asked for."""


def with_kept(
    seam: Seam,
    contract: Contract,
    velocity: Float[Tensor, "batch *latent"],
    x: Float[Tensor, "batch *latent"],
    t: Float[Tensor, " batch"],
    entries: Sequence[int],
    told: Told,
) -> Float[Tensor, "batch *latent"]:
    """A velocity with (x - c) / t in the places of what is kept, c, where anything is."""
    part = contract.manner.part
    if part is None or not part.keeps:
        return velocity
    kept = torch.cat([_kept_of(seam, contract, told.where[entry][0], told) for entry in entries])
    first, made = (each.flatten(1)[:, : kept[0].numel()] for each in (x, velocity))
    straight = (first - kept.to(x).flatten(1)) / t.clamp(min=_SOONEST).unsqueeze(1).to(x)
    filled = part.filled(made, straight)
    return torch.cat([filled, velocity.flatten(1)[:, filled.shape[1] :]], 1).reshape(x.shape)


def _kept_of(seam: Seam, contract: Contract, table: int, told: Told) -> Tensor:
    """Of the prompts of a table, which share their images: found once."""
    part, kept = contract.manner.part, told.tables[table].encoded.kept
    assert part is not None
    if "latents" not in kept:
        encoded = told.rows(Group(table, (0,), (0,), 0.5), contract)
        seam.ask(Question("network", [""], guidance=told.scale, encoded=encoded))
        kept["latents"] = part.rest(seam.run.prepared)
    return kept["latents"]  # type: ignore[no-any-return]
