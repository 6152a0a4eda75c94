"""All that is found of a pipeline at the size that its seam asks for."""

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.policy.pipeline.clock import read_clock
from zoo.policy.pipeline.learn import learn
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.refusals import require_arguments, telling_why
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.solver import aligned


class Learned:
    """The contract that it keeps, what its times mean, and its grids."""

    def __init__(self, seam: Seam, device: torch.device) -> None:
        """On a device where there are numbers.

        Raises:
            UnsupportedError: the pipeline does not keep the contract.
        """
        self._seam = seam
        with seam.on(device):
            with telling_why(seam):
                require_arguments(seam)
                self.some = seam.encode(["a"], None)
                """Any prompt's embeddings."""
                self.clock = read_clock(seam.scheduler, self._set_grid)
            self.contract = learn(seam)
            with telling_why(seam):
                self.clock = aligned(seam, self.contract, self.clock, self.grid)

    @torch.no_grad()
    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """The pipeline's own, which may depend on the number of steps."""
        return self.clock.grid(self._set_grid(num_steps))

    def _set_grid(self, num_steps: int) -> object:
        return self._seam.ask(Question("grid", ["a"], steps=num_steps, encoded=self.some))
