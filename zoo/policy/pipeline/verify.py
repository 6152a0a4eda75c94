"""What was found of a pipeline, against the pipeline's own loop: the last word before a run."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.policy.pipeline.contract import Contract, UnsupportedError
from zoo.policy.pipeline.pictures import on_white
from zoo.policy.pipeline.questions import OwnRun
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.solver import by_state
from zoo.policy.pipeline.stand_ins import Step as OwnStep
from zoo.policy.pipeline.step import Steps, flat

_TEXTS = ("a red cat on a mat", "two dogs")
_STEPS = 2
_GUIDED = 4.0
_ALLOWED = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Of the velocity's norm. In bfloat16 the pipeline's own differ so much from its float32's.

float16 has three bits more."""
_ALLOWED_PIXEL = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.01}
"""Of a decoded picture or frame in [0, 1], on average."""

Decode = Callable[[Float[Tensor, "batch *latent"]], Tensor]


def verify(
    seam: Seam, contract: Contract, steps: Steps, dtype: torch.dtype, decode: Decode
) -> dict[str, float]:
    """The largest difference from the velocities of the pipeline's own loop, relative, by guidance.

    What the loop does besides, between its steps and after them, is looked at, too.

    Raises:
        UnsupportedError: a difference is more than rounding.
    """
    texts = _TEXTS[:1] if contract.manner.batching == "alone" else _TEXTS
    found = {}
    for guidance in (1.0,) if contract.offset is None else (1.0, _GUIDED):
        scale = None if guidance == 1.0 else guidance + (contract.offset or 0.0)
        encoded = seam.encode(texts, scale, seam.any_image)
        run = seam.run_own_loop(texts, scale, encoded, steps=_STEPS)
        own = by_state(run.steps, contract)
        _require_nothing_between(own)
        worst = 0.0
        for now in own:
            at = now[0].time / seam.scale
            times = torch.full((len(texts),), at, device=seam.device)
            with torch.no_grad():
                states = latents_of([step.seen for step in now], run, contract)
                _require_shapes(states, contract)
                got = steps(states, times, encoded, scale, at=at)
            worst = max(worst, _relative(got, flat([step.output for step in now], contract)))
        if not worst <= _ALLOWED[dtype]:
            raise UnsupportedError(
                f"at guidance {guidance:g} its own loop makes other velocities than its step does "
                f"alone: they differ by {worst:.2g} of their size, and {_ALLOWED[dtype]:g} is "
                "allowed"
            )
        found[f"guidance {guidance:g}"] = worst
    _verify_pictures(seam, contract, decode, _ALLOWED_PIXEL[dtype])
    return found


def _require_shapes(states: Sequence[Tensor], contract: Contract) -> None:
    shapes = tuple(tuple(state.shape[1:]) for state in states)
    if shapes != contract.shapes:
        raise UnsupportedError(
            f"its own loop has latents of shapes {shapes}, and its step alone {contract.shapes}"
        )


def _require_nothing_between(own: Sequence[Sequence[OwnStep]]) -> None:
    """A step goes on from where the last one came, and moves all of it."""
    for before, after in pairwise(own):
        for one, two in zip(before, after, strict=True):
            if one.result.shape != two.sample.shape or not torch.allclose(
                one.result.float(), two.sample.float(), rtol=1e-3, atol=1e-3
            ):
                raise UnsupportedError("it changes its latents between steps of its solver")


def latents_of(stepped: Sequence[Tensor], run: OwnRun, contract: Contract) -> list[Tensor]:
    """The policy's latents of what the own loop has stepped, for each state, float32."""
    first, *others = (each.float() for each in stepped)
    part = contract.manner.part
    return [first if part is None else part.latent(first, run.prepared), *others]


def whole(states: Sequence[Tensor]) -> Tensor:
    """A policy's latents: the only state, or all of them in a flat row."""
    return states[0] if len(states) == 1 else torch.cat([each.flatten(1) for each in states], 1)


def _verify_pictures(seam: Seam, contract: Contract, decode: Decode, allowed: float) -> None:
    """Latents must decode alike whatever the prompt's image is."""
    encoded = seam.encode(_TEXTS[:1], None, _turned(seam.any_image))
    run = seam.run_own_loop(_TEXTS[:1], None, encoded, steps=_STEPS, output="pt")
    stepped = [step.result for step in run.steps[-len(contract.shapes) :]]
    states = latents_of(stepped, run, contract)
    got, wanted = decode(whole(states)).cpu(), on_white(torch.as_tensor(run.made).float().cpu())
    # Of each frame: a first one that is kept may be one of many.
    apart = (got - wanted).abs().flatten(-3).mean(-1) if got.shape == wanted.shape else None
    if apart is None or not float(apart.max()) <= allowed:
        raise UnsupportedError("what it decodes are not its last latents alone")


def _turned(image: Any) -> Any:
    """Another image, or others, than those that a decoder is told."""
    if image is None:
        return None
    return [each.rotate(180) for each in image] if isinstance(image, list) else image.rotate(180)


def _relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm().clamp(min=1e-6))
