"""What is promised of a pipeline, tried on it: a row of the table in docs/models.md.

Works on any model that the policy loads; on a tiny one it takes seconds.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.measure import milliseconds
from zoo.policy.pipeline.pictures import on_white
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.verify import latents_of, whole
from zoo.prompt import Prompt
from zoo.rollout import Cond, take
from zoo.seeds import Draws

_GUIDED = 4.0
_TIMES = (0.9, 0.3)
_STEPS = 4
_ALLOWED = 1e-3
"""Of a difference, where numbers are float32."""


@dataclass(frozen=True)
class Trial:
    """Differences are of the largest number that they are differences of, or of 1.

    `velocity` and `guided` are to the pipeline's own loop, `rows` of rows with a time each together
    and alone; `sampled` is of Euler's latents at the end and `decoded` of images, to the pipeline's
    own. `trained` counts the LoRA layers that a gradient reaches, `branches` the forwards with and
    without gradients of a guided velocity. `milliseconds` are of a velocity beside its networks:
    the least of many. None: there is no such thing, or a sentence says why not.
    """

    pipeline: str
    latent: tuple[int, ...]
    velocity: float | None = None
    guided: float | None = None
    rows: float | None = None
    trained: str | None = None
    branches: str | None = None
    sampled: float | str | None = None
    decoded: float | str | None = None
    encoded: str | None = None
    milliseconds: float | None = None

    @property
    def holds(self) -> bool:
        """Whether all that was tried is as it must be."""
        numbers = (self.velocity, self.guided, self.rows, self.sampled, self.decoded)
        return (
            all(
                value is None or (isinstance(value, float) and value <= _ALLOWED)
                for value in numbers
            )
            and self.encoded in ("yes", None)
            and not str(self.trained).startswith("0/")
        )

    def cells(self) -> dict[str, Any]:
        """By name, as JSON can hold it."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


def try_pipeline(policy: Diffusers, prompts: tuple[Prompt, Prompt]) -> Trial:
    """Tries it all; allocates the policy's weights and moves them."""
    contract = policy.contract
    trial = Trial(
        contract.pipeline,
        policy.latent_shape,
        policy.verified.get("guidance 1"),
        policy.verified.get(f"guidance {_GUIDED:g}"),
    )
    x = Draws(0, "trial", 0, torch.arange(2)).normal(policy.latent_shape).to(policy.device)
    t = torch.tensor(_TIMES, device=policy.device)
    guided = 1.0 if contract.offset is None else _GUIDED
    sampled, decoded, images = _compare_images(policy, prompts)
    trial = replace(
        trial,
        rows=_compare_rows(policy, x, t, policy.encode(prompts)),
        sampled=sampled,
        decoded=decoded,
        encoded=_encode(policy, images),
        milliseconds=milliseconds(policy, x, t, policy.encode(prompts[:1] * 2)),
    )
    trained, branches = _count_gradients(policy, x, t, policy.encode(prompts, guidance=guided))
    return replace(trial, trained=trained, branches=branches)


@torch.no_grad()
def _compare_rows(policy: Diffusers, x: Tensor, t: Tensor, cond: Cond) -> float:
    both = policy.velocity(x, t, cond)
    alone = [
        policy.velocity(x[i : i + 1], t[i : i + 1], take(cond, torch.tensor([i])))
        for i in range(len(x))
    ]
    return _difference(both, torch.cat(alone))


@torch.no_grad()
def _compare_images(
    policy: Diffusers, prompts: tuple[Prompt, Prompt]
) -> tuple[float | str | None, float | str | None, Tensor | None]:
    """Euler's last latents and the images, to the pipeline's own."""
    seam, one = policy.seam, policy.encode(prompts[:1])
    encoded = one.layout.tables[0].encoded
    try:
        run = seam.run_own_loop([prompts[0].text], None, encoded, steps=_STEPS, output="pt")
        states = len(policy.contract.shapes)
        first = [step.sample for step in run.steps[:states]]
        last = [step.result for step in run.steps[-states:]]
        x, end = (
            whole(latents_of(some, run, policy.contract)).reshape(1, *policy.latent_shape)
            for some in (first, last)
        )
        sampled = None
        if type(seam.scheduler).__name__.startswith("FlowMatchEuler"):
            for now, then in pairwise(policy.grid(_STEPS)):
                times = torch.full((1,), float(now), device=x.device)
                x = x + float(then - now) * policy.velocity(x, times, one)
            sampled = _difference(x, end)
        images = policy.decode(end)
        own = on_white(torch.as_tensor(run.made).to(images))
        return sampled, _difference(images, own), images
    except Exception as error:
        return None, _said(error), None


def _encode(policy: Diffusers, images: Tensor | None) -> str | None:
    if images is None or len(policy.contract.shapes) > 1:  # Pictures are not all of a latent.
        return None
    try:
        policy.latents(images)
    except Exception as error:
        return _said(error)
    return "yes"


def _count_gradients(policy: Diffusers, x: Tensor, t: Tensor, cond: Cond) -> tuple[str, str]:
    policy.weights.allocate((), seed=0)
    live = policy.weights.parameters()
    with torch.no_grad():
        for i, parameter in enumerate(live.values()):
            noise = Draws(0, "trial", 1, torch.tensor([i])).normal(tuple(parameter.shape))[0]
            parameter.add_(noise.to(parameter), alpha=0.05)
    modes: list[bool] = []
    with _watched(policy, lambda: modes.append(torch.is_grad_enabled())):
        torch.autograd.backward(policy.velocity(x, t, cond).square().mean())
    reached = sum(p.grad is not None and bool(p.grad.abs().max() > 0) for p in live.values())
    return f"{reached}/{len(live)}", f"{modes.count(True)} with, {modes.count(False)} without"


@contextmanager
def _watched(policy: Diffusers, called: Callable[[], None]) -> Iterator[None]:
    hooks = [
        network.register_forward_pre_hook(lambda *_: called())
        for network in policy.seam.networks.values()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _difference(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
