"""What was found of a pipeline, against the pipeline's own loop: the last word before a run."""

import torch
from torch import Tensor

from zoo.policy.pipeline.contract import Contract, UnsupportedError
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.step import Steps

_TEXTS = ("a red cat on a mat", "two dogs")
_STEPS = 2
_GUIDED = 4.0
_ALLOWED = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Of the velocity's norm. In bfloat16 the pipeline's own differ so much from its float32's."""


def verify(seam: Seam, contract: Contract, steps: Steps, dtype: torch.dtype) -> dict[str, float]:
    """The largest difference from the velocities of the pipeline's own loop, relative, by guidance.

    Raises:
        UnsupportedError: it is more than rounding.
    """
    alone = contract.manner.batching == "alone"
    texts = _TEXTS[:1] if alone else _TEXTS
    found = {}
    for guidance in (1.0,) if contract.offset is None else (1.0, _GUIDED):
        scale = None if guidance == 1.0 else guidance + (contract.offset or 0.0)
        encoded = seam.encode(texts, scale, seam.any_image)
        own = seam.run_own_loop(texts, scale, encoded, steps=_STEPS).steps
        num_states = len(contract.shapes)
        worst = 0.0
        for i in range(0, len(own), num_states):
            now = own[i : i + num_states]
            at = now[0].time / seam.scale
            states = [step.sample.float() for step in now]
            wanted = torch.cat([step.output.float().flatten(1) for step in now], dim=1)
            times = torch.full((len(texts),), at, device=seam.device)
            with torch.no_grad():
                got = steps(states, times, encoded, scale, at=at)
            worst = max(worst, _relative(got, wanted))
        if not worst <= _ALLOWED[dtype]:
            raise UnsupportedError(
                f"at guidance {guidance:g} its own loop makes other velocities than its step does "
                f"alone: they differ by {worst:.2g} of their size, and {_ALLOWED[dtype]:g} is "
                "allowed"
            )
        found[f"guidance {guidance:g}"] = worst
    return found


def _relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm().clamp(min=1e-6))
