"""The velocities of a flow: by what a pipeline's networks predict, and by what it keeps."""

from jaxtyping import Float
from torch import Tensor

from zoo.policy.base import Latents
from zoo.policy.pipeline.clock import Clock
from zoo.policy.pipeline.contract import Contract
from zoo.policy.pipeline.kept import with_kept
from zoo.policy.pipeline.predict import Predictions
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.told import Told
from zoo.rollout import Cond, Lookup


class Velocities:
    """Of rows of latents at one size, in the flow's times."""

    def __init__(self, seam: Seam, contract: Contract, clock: Clock, predict: Predictions) -> None:
        """`clock` says what the predictions are of a flow from noise to data."""
        self._seam, self._contract, self._clock, self._predict = seam, contract, clock, predict

    def __call__(self, x: Latents, t: Float[Tensor, " batch"], cond: Cond) -> Latents:
        """dx/dt; the branch without the prompt has no gradient."""
        entry = cond.tensors["entry"]
        assert isinstance(entry, Lookup)
        told: Told = cond.layout.at(cond.guidance)
        entries = entry.index.tolist()
        made = self._clock.velocity(
            lambda inner, times: self._predict(inner, times, entries, told), x, t
        )
        return with_kept(self._seam, self._contract, made, x, t, entries, told)
