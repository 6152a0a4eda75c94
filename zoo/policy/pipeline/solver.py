"""Whether a pipeline's own solver goes along the grid that was found, and which way.

Where its networks give the same at every call, a flow goes straight, and every deterministic solver
makes the steps of its grid exactly: so its own loop is run with such networks. Few steps are told
from many by it, times by another table, and velocities that point from noise to data.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.policy.pipeline.clock import SAME_TIME, Clock
from zoo.policy.pipeline.contract import Contract, UnsupportedError
from zoo.policy.pipeline.probes import SHORT, Probes
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.stand_ins import Step

_STEPS = 5
_ALLOWED = 0.03
"""Of a step."""
_ROUNDED = 0.01
"""Of a velocity: latents in half precision are rounded so much."""

Grid = Callable[[int], Float[Tensor, " num_points"]]
"""A policy's grid of so many steps."""


def aligned(seam: Seam, contract: Contract, clock: Clock, grid: Grid) -> Clock:
    """The clock whose velocities point as the pipeline's own solver goes.

    Raises:
        UnsupportedError: its own loop steps at other times, by other sizes, or more often.
    """
    probes, wanted = Probes(seam), grid(_STEPS)
    encoded = probes.encode([SHORT], None)
    run = seam.run_own_loop([SHORT], None, encoded, steps=_STEPS, through=probes.constant)
    own = by_state(run.steps, contract)
    if len(own) != len(wanted) - 1:
        raise UnsupportedError(
            f"its loop steps its solver {len(own)} times where its grid has {len(wanted) - 1} "
            "steps: it works in chunks, or one part after another"
        )
    for now, t in zip(own, wanted.tolist(), strict=False):
        at, told = now[0].time / seam.scale, clock.told(t)
        if abs(at - told) > SAME_TIME:
            raise UnsupportedError(
                f"its loop steps at other times than those of its grid: {at:.4g} and not {told:.4g}"
            )
    if clock.noise is not None:
        return clock
    return replace(clock, sign=_way(own, wanted))


def by_state(steps: Sequence[Step], contract: Contract) -> list[list[Step]]:
    """The steps of all that is denoised, together."""
    num = len(contract.shapes)
    return [list(steps[i : i + num]) for i in range(0, len(steps), num)]


def _way(own: Sequence[Sequence[Step]], grid: Tensor) -> int:
    """1 where a step is a velocity by the change of t, -1 where it is its opposite."""
    ways = set()
    for now, size in zip(own, grid.diff().tolist(), strict=True):
        output = torch.cat([step.output.double().flatten() for step in now])
        moved = torch.cat([(step.result - step.sample).double().flatten() for step in now])
        share = float(moved @ output / (output @ output))
        beside = float((moved - share * output).norm() / output.norm())
        allowed = _ALLOWED * abs(size)
        if abs(abs(share) - abs(size)) > allowed or beside > allowed + _ROUNDED:
            raise UnsupportedError(
                "its solver's steps are not those of the grid that it set: where t moves by "
                f"{size:.3g} they are {share:.3g} of the velocity, and {beside:.2g} beside it"
            )
        ways.add(1 if share * size > 0 else -1)
    if len(ways) != 1:
        raise UnsupportedError("its solver goes to and fro")
    return ways.pop()
