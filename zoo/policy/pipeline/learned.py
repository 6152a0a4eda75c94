"""All that is found of a pipeline at the size that its seam asks for."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.policy.base import EXACT
from zoo.policy.pipeline.clock import PREDICTIONS, read_clock
from zoo.policy.pipeline.known import Known
from zoo.policy.pipeline.learn import learn
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.refusals import require_arguments, telling_why
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.solver import aligned
from zoo.policy.pipeline.written import to_json


class Learned:
    """The contract that it keeps, known or found, what its times mean, and its grids."""

    def __init__(self, seam: Seam, device: torch.device, *, anew: bool = False) -> None:
        """On a device where there are numbers; `anew` asks for no contract that is known.

        Raises:
            OutdatedError: what was known of the pipeline does not hold.
            UnsupportedError: the pipeline does not keep the contract.
        """
        self._seam = seam
        with seam.on(device):
            with telling_why(seam):
                require_arguments(seam)
                self.some = seam.encode(["a"], None)
                """Any prompt's embeddings."""
                self.clock = read_clock(seam.scheduler, self._set_grid)
            self.known = Known(seam, lambda: learn(seam), anew=anew)
            self.contract = self.known.contract
            with self.known.holding(), telling_why(seam):
                self.clock = aligned(seam, self.contract, self.clock, self.grid)

    def findings(self) -> Mapping[str, Any]:
        """In words, and as a run keeps it to go on with."""
        import diffusers

        return {
            **self.contract.describe(),
            "predicts": PREDICTIONS[self.clock.kind],
            "diffusers": diffusers.__version__,
            EXACT: {self.known.asked: to_json(self.contract)},
        }

    @torch.no_grad()
    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """The pipeline's own, which may depend on the number of steps."""
        return self.clock.grid(self._set_grid(num_steps))

    def _set_grid(self, num_steps: int) -> object:
        return self._seam.ask(Question("grid", ["a"], steps=num_steps, encoded=self.some))
