"""What a pipeline's scheduler means: times and predictions, in those of a flow from noise to data.

Flow-matching schedulers have sigma for t, but for those that count it from noise (`invert_sigmas`).
Predictions of the noise, or of v = alpha eps - sigma x0 (Salimans and Ho 2022, arXiv 2202.00512),
are those of a variance-preserving process x_vp = alpha x0 + sigma eps. The flow is the same process
at another scale: t = sigma / (alpha + sigma) and x = x_vp / (alpha + sigma), exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.devices import send
from zoo.policy.pipeline.contract import UnsupportedError

Kind = Literal["flow", "epsilon", "v_prediction"]
PREDICTIONS: Mapping[Kind, str] = {
    "flow": "velocity",
    "epsilon": "noise",
    "v_prediction": "v",
}
"""What networks give, in words."""
Ask = Callable[[Float[Tensor, "batch *latent"], Float[Tensor, " batch"]], Tensor]
"""The network's prediction of a pipeline's latents at its scheduler's times in [0, 1]."""

_TABLE_STEPS = 1000
SAME_TIME = 2e-3
"""How much the times of sigmas may differ from them: rounding in the schedulers' tables."""


@dataclass(frozen=True)
class Clock:
    """How a pipeline's times and predictions are a flow's.

    `noise` are alpha and sigma of the scheduler's steps, where it is variance-preserving. `table`
    has sigmas, rising, and the times that the network is told for them, where these differ. `sign`
    is -1 where what a flow's scheduler is handed points from noise to data.
    """

    kind: Kind
    scale: float
    inverted: bool = False
    noise: tuple[Float[Tensor, " steps"], Float[Tensor, " steps"]] | None = None
    table: tuple[Float[Tensor, " steps"], Float[Tensor, " steps"]] | None = None
    sign: int = 1

    def velocity(self, ask: Ask, x: Tensor, t: Float[Tensor, " batch"]) -> Tensor:
        """dx/dt, from what the network predicts at that place."""
        if self.noise is None:
            made = ask(x, self._told(t))
            return -made if self.sign < 0 else made
        alpha, sigma = ((1 - t), t)
        norm = (alpha**2 + sigma**2).sqrt()
        alpha, sigma = (_like(value / norm, x) for value in (alpha, sigma))
        inner = x * (alpha + sigma)
        predicted = ask(inner, self._step(t) / self.scale)
        noise = predicted if self.kind == "epsilon" else alpha * predicted + sigma * inner
        return noise - (inner - sigma * noise) / alpha

    def told(self, t: float) -> float:
        """The scheduler's time of t, over its number of steps."""
        at = torch.tensor([t])
        return float(self._told(at) if self.noise is None else self._step(at) / self.scale)

    def grid(self, scheduler: Any) -> Float[Tensor, " num_points"]:
        """A scheduler's own grid, from its first t down to 0."""
        if self.noise is None:
            sigmas: Tensor = scheduler.sigmas.double().cpu()
            return 1 - sigmas if self.inverted else sigmas
        alpha, sigma = self.noise
        flow = sigma / (alpha + sigma)
        times = torch.as_tensor(scheduler.timesteps).double().cpu()
        t = _interpolated(
            times, torch.arange(len(flow), dtype=torch.float64, device=times.device), flow
        )
        return torch.cat([t, t.new_zeros(1)])

    def _told(self, t: Tensor) -> Tensor:
        t = 1 - t if self.inverted else t
        return t if self.table is None else _interpolated(t, *self.table)

    def _step(self, t: Tensor) -> Tensor:
        """The step, between two where need be, at which the process is at t."""
        assert self.noise is not None
        alpha, sigma = (send(value, t.device) for value in self.noise)
        steps = torch.arange(len(alpha), dtype=torch.float64, device=t.device)
        return _interpolated(t, sigma / (alpha + sigma), steps)


def read_clock(scheduler: Any, set_grid: Callable[[int], Any]) -> Clock:
    """By a scheduler's class and configuration; `set_grid` sets it to a number of steps.

    Raises:
        UnsupportedError: it is of another process.
    """
    config, name = scheduler.config, type(scheduler).__name__
    kind = config.get("prediction_type")
    scale = float(config.get("num_train_timesteps", 1000))
    if "FlowMatch" in name or config.get("use_flow_sigmas") or kind == "flow_prediction":
        inverted = bool(config.get("invert_sigmas", False))
        sign = -1 if inverted else 1
        set_to = set_grid(_TABLE_STEPS)
        sigmas = set_to.sigmas.double().cpu()[:-1]
        times = torch.as_tensor(set_to.timesteps).double().cpu()[: len(sigmas)] / scale
        if float((sigmas - times).abs().max()) <= SAME_TIME:
            return Clock("flow", scale, inverted, sign=sign)
        return Clock("flow", scale, inverted, table=(sigmas.flip(0), times.flip(0)), sign=sign)
    if kind in ("epsilon", "v_prediction") and hasattr(scheduler, "alphas_cumprod"):
        product = scheduler.alphas_cumprod.double().cpu()
        return Clock(kind, scale, noise=(product.sqrt(), (1 - product).sqrt()))
    raise UnsupportedError(
        f"its scheduler is a {name} with prediction_type {kind!r}: neither a flow's, nor of the "
        "noise or of v in a variance-preserving process"
    )


def _like(value: Tensor, x: Tensor) -> Tensor:
    return value.reshape(-1, *[1] * (x.ndim - 1)).to(x)


def _interpolated(at: Tensor, points: Tensor, values: Tensor) -> Tensor:
    """Values, known at rising points, at others; beyond the ends on the first or last line."""
    points, values, wanted = (
        send(points, at.device),
        send(values, at.device),
        at.double().contiguous(),
    )
    after = torch.searchsorted(points, wanted).clamp(1, len(points) - 1)
    share = (wanted - points[after - 1]) / (points[after] - points[after - 1])
    found = values[after - 1] + share * (values[after] - values[after - 1])
    return found.to(at.dtype)
