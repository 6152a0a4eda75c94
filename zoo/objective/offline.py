"""What objectives share that stored images will do for: any times, and a reference that may follow.

Such an objective is the same on collected images. It may see those that guidance made, and one
image a prompt; its times are any of the model's, which are drawn with the noise.
"""

from zoo.objective.base import Objective, R
from zoo.objective.times import any_times
from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.rollout import Weights
from zoo.sampler.base import PerRow
from zoo.seeds import Draws


class OfflineObjective(Objective[R]):
    """An objective that learns from stored images too; its constructor sets these options."""

    trains_guided = True
    needs_groups = False

    shift: float | None = None
    """That of a logit-normal time; none: as the policy's own grid."""

    ref_update: int = 0
    """Updates after which the reference follows live; 0: never."""

    ref_decay: float = 0.0
    """How much of the reference stays then."""

    @property
    def moves(self) -> frozenset[Weights]:
        """The reference, where it follows live."""
        return frozenset({Weights.REFERENCE}) if self.ref_update else frozenset()

    def times(self, policy: Policy, draws: Draws) -> PerRow:
        """A time for each row; `draws` are by row."""
        return any_times(policy, draws, self.shift)

    def after_update(self, weights: WeightSets, step: int) -> None:
        """The reference follows live every `ref_update` steps."""
        if self.ref_update and step % self.ref_update == 0:
            weights.blend(Weights.REFERENCE, decay=self.ref_decay)
