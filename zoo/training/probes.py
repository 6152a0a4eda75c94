"""Step-0 probes: what must hold before the first update, measured with the real components.

They catch in seconds what would otherwise spoil a run in silence: dropout left on, adapters that
do not switch, a sampler and a trainer that disagree about time, rewards that fail.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from zoo.objective.base import Objective, Probe
from zoo.policy.base import Policy
from zoo.rollout import Rollout, Rows, take
from zoo.seeds import Draws


@dataclass
class Pixels:
    """Watches decoded images for values that are no pixels."""

    worst: float = 0.0
    seen: int = field(default=0)

    def see(self, images: Float[Tensor, "batch ..."], key: Int[Tensor, " batch"]) -> None:
        """Takes note of a batch."""
        if len(images):
            self.worst = max(self.worst, float((images - 0.5).abs().max()) - 0.5)
            self.seen += len(images)

    def probe(self) -> Probe:
        """How far any pixel is outside [0, 1]."""
        return Probe("pixels outside [0, 1]", max(0.0, self.worst), 0.0, 1e-3)


def probe(
    objective: Objective[Rows],
    policy: Policy,
    rollout: Rollout,
    advantage: Float[Tensor, " rows"],
    draws: Callable[[str, Int[Tensor, " rows"]], Draws],
    *,
    micro_batch: int,
) -> tuple[Probe, ...]:
    """The objective's probes on one micro-batch of its rows; `draws` are by purpose and key."""
    rows = objective.rows(rollout, advantage, draws("rows", rollout.key))
    # Those that count first: the rows of a broken image hold no truth.
    order = (rows.weight == 0).long().argsort(stable=True)
    some = take(rows, order[: max(1, micro_batch // objective.images_per_row)])
    return tuple(objective.probes(policy, some, draws("loss", some.key)))
