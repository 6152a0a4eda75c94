"""Step-0 probes: what must hold before the first update, measured with the real components.

They catch in seconds what would otherwise spoil a run in silence: dropout left on, adapters that
do not switch, a sampler and a trainer that disagree about time, rewards that fail.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.objective.base import Probe
from zoo.rollout import Rollout, Rows, take
from zoo.seeds import Draws
from zoo.training.collect import Collected, Collector, furthest_outside
from zoo.training.cut import Cut
from zoo.training.learn import Learner, batch_size


def probe(
    learner: Learner,
    rollout: Rollout,
    advantage: Float[Tensor, " rows"],
    draws: Callable[[str, Int[Tensor, " rows"]], Draws],
    part: Callable[[Rows], Cut],
) -> tuple[Probe, ...]:
    """The objective's probes on one micro-batch of its rows, of the size that it trains on.

    `draws` are by purpose and key, and `part` cuts the rows into updates.
    """
    objective = learner.objective
    rows = objective.rows(rollout, advantage, draws("rows", rollout.key))
    size = batch_size(learner, part(rows))
    # Those that count first: the rows of a broken image hold no truth.
    order = (rows.weight == 0).long().argsort(stable=True)
    some = take(rows, order[:size])
    return tuple(objective.probes(learner.policy, some, draws("loss", some.key)))


def probe_images(collector: Collector, collected: Collected) -> tuple[Probe, ...]:
    """That pixels are within [0, 1], on this process, and that no image is broken, on any.

    Of stored images, which have no pixels where no reward reads them, a micro-batch is decoded.
    """
    outside = collected.out_of_range
    if outside is None:
        some = collected.rollout.path.clean[: collector.micro_batch]
        with torch.no_grad():
            outside = float(furthest_outside(collector.policy.decode(some)))
    return (
        Probe("pixels outside [0, 1]", max(0.0, outside), 0.0, 1e-3),
        Probe("broken images", collected.num_broken, 0.0, 0.0),
    )
