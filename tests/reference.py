"""The functional core in float64 NumPy, from the equations of ALGORITHMS.md and not from zoo.

Loops over rows wherever they are clearer: slow, and hard to get wrong.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Field = Callable[[Array, float], Array]


def array(x: ArrayLike | torch.Tensor) -> Array:
    return np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x, dtype=np.float64)


def each(t: ArrayLike, num_rows: int) -> list[float]:
    """A time for each row, of a scalar or an array."""
    return [float(value) for value in np.broadcast_to(array(t), num_rows)]


# Section 0: x_t = (1 - t) clean + t noise, v = noise - clean.


def noised(clean: Array, noise: Array, t: ArrayLike) -> Array:
    return np.stack(
        [(1 - t) * c + t * n for c, n, t in zip(clean, noise, each(t, len(clean)), strict=True)]
    )


def velocity_target(clean: Array, noise: Array) -> Array:
    return noise - clean


def clean_from(x: Array, velocity: Array, t: ArrayLike) -> Array:
    return np.stack([x - t * v for x, v, t in zip(x, velocity, each(t, len(x)), strict=True)])


def noise_from(x: Array, velocity: Array, t: ArrayLike) -> Array:
    """Noise = clean + v."""
    return clean_from(x, velocity, t) + velocity


# Section 1: advantages and DiffusionNFT.


def spread(values: list[float]) -> float:
    """The standard deviation with ddof 0."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


def group_advantage(
    reward: Array, group: Array, *, std: str = "global", eps: float = 1e-4
) -> Array:
    out = np.full(len(reward), np.nan)
    everything = [float(r) for r in reward if not math.isnan(r)]
    for i, r in enumerate(reward):
        if math.isnan(r):
            continue
        peers = [float(p) for p, g in zip(reward, group, strict=True) if g == group[i] and p == p]
        residual = 0.0 if len(set(peers)) == 1 else r - math.fsum(peers) / len(peers)
        out[i] = residual / (spread(peers if std == "group" else everything) + eps)
    return out


def mix(
    scores: Mapping[str, Array],
    weights: Mapping[str, float],
    group: Array,
    *,
    how: str = "sum",
    eps: float = 1e-4,
) -> Array:
    num = len(group)
    valid = [all(not math.isnan(score[i]) for score in scores.values()) for i in range(num)]
    if how == "gdpo":
        scores = {
            name: group_advantage(np.where(valid, score, np.nan), group, std="group", eps=eps)
            for name, score in scores.items()
        }
    total = np.full(num, np.nan)
    for i in range(num):
        if valid[i]:
            total[i] = math.fsum(weights[name] * score[i] for name, score in scores.items())
    if how == "sum":
        return total
    kept = [float(v) for v in total if v == v]
    return (total - math.fsum(kept) / len(kept)) / (spread(kept) + eps) if kept else total


def optimality(advantage: Array, *, clip: float = 5.0, mode: str = "all") -> Array:
    change = {
        "all": lambda a: a,
        "positive_only": lambda a: min(max(a, 0.0), clip),
        "negative_only": lambda a: min(max(a, -clip), 0.0),
        "one_only": lambda a: 1.0 if a > 0 else 0.0,
        "binary": lambda a: float((a > 0) - (a < 0)),
    }[mode]
    out = []
    for a in advantage:
        bounded = min(max(change(float(a)), -clip), clip)
        out.append(min(max(bounded / clip / 2 + 0.5, 0.0), 1.0))
    return np.array(out)


def nft_loss(
    velocity: Array,
    old_velocity: Array,
    x: Array,
    clean: Array,
    t: ArrayLike,
    optimality: Array,
    *,
    beta: float,
    clip: float,
    weighting: str,
) -> Array:
    out = []
    for i, time in enumerate(each(t, len(x))):
        v_plus = (1 - beta) * old_velocity[i] + beta * velocity[i]
        v_minus = (1 + beta) * old_velocity[i] - beta * velocity[i]
        errors = []
        for v in (v_plus, v_minus):
            if weighting == "adaptive":
                off = x[i] - time * v - clean[i]
                errors.append(float(np.mean(off**2 / max(1e-5, float(np.mean(abs(off)))))))
            else:
                noise = (x[i] - (1 - time) * clean[i]) / time
                errors.append(float(np.mean((v - (noise - clean[i])) ** 2)))
        r = float(optimality[i])
        out.append(clip * (r * errors[0] + (1 - r) * errors[1]) / beta)
    return np.array(out)


def published_old_decay(step: int, kind: int) -> float:
    """The published eta schedules, by type."""
    if kind == 0:
        return 0.0
    if kind == 1:
        return min(0.001 * step, 0.5)
    return 0.0 if step < 75 else min(0.0075 * (step - 75), 0.999)


# Section 2: Flow-GRPO, and the stochastic transitions.


def clipped_surrogate(
    log_prob: Array,
    old_log_prob: Array,
    advantage: Array,
    *,
    clip_range: float,
    adv_clip: float = 5.0,
) -> Array:
    out = []
    for new, old, a in zip(log_prob, old_log_prob, advantage, strict=True):
        a, ratio = min(max(a, -adv_clip), adv_clip), math.exp(new - old)
        bounded = min(max(ratio, 1 - clip_range), 1 + clip_range)
        out.append(max(-a * ratio, -a * bounded))
    return np.array(out)


def flow_sde(
    v: Array, x: Array, t: float, s: float, *, noise_level: float, second: float
) -> tuple[Array, float]:
    sigma = noise_level * math.sqrt(t / (1 - (second if t == 1 else t)))
    dt = s - t
    mean = x * (1 + sigma**2 / (2 * t) * dt) + v * (1 + sigma**2 * (1 - t) / (2 * t)) * dt
    return mean, sigma * math.sqrt(-dt)


def dance(v: Array, x: Array, t: float, s: float, *, noise_level: float) -> tuple[Array, float]:
    dt, clean = s - t, x - t * v
    mean = x + v * dt + (noise_level**2 / 2) * (x - (1 - t) * clean) / t**2 * dt
    return mean, noise_level * math.sqrt(-dt)


def ddim(v: Array, x: Array, t: float, s: float, *, eta: float) -> tuple[Array, float]:
    clean, noise = x - t * v, x - t * v + v
    rho = eta * s * math.sqrt(1 - s**2 * (1 - t) ** 2 / (t**2 * (1 - s) ** 2))
    return (1 - s) * clean + math.sqrt(s**2 - rho**2) * noise, rho


def cps(v: Array, x: Array, t: float, s: float, *, eta: float) -> tuple[Array, float]:
    clean, noise, angle = x - t * v, x - t * v + v, math.pi * eta / 2
    return (1 - s) * clean + s * math.cos(angle) * noise, s * math.sin(angle)


def log_normal(value: Array, mean: Array, std: float) -> float:
    """The mean over the axes of log N(value; mean, std^2)."""
    log = -0.5 * ((value - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
    return float(np.mean(log))


def cps_log_prob(value: Array, mean: Array) -> float:
    return -float(np.mean((value - mean) ** 2))


# Section 3: Diffusion-DPO.


def diffusion_dpo_loss(
    err_live_win: Array,
    err_ref_win: Array,
    err_live_lose: Array,
    err_ref_lose: Array,
    *,
    beta: float,
) -> Array:
    inside = -0.5 * beta * ((err_live_win - err_ref_win) - (err_live_lose - err_ref_lose))
    # -log sigmoid(z) = log(1 + e^-z)
    return np.array([float(np.logaddexp(0.0, -z)) for z in inside])


# Section 4: deterministic solvers.


def euler(field: Field, x: Array, grid: list[float]) -> Array:
    for i in range(len(grid) - 1):
        x = x + field(x, grid[i]) * (grid[i + 1] - grid[i])
    return x


def heun(field: Field, x: Array, grid: list[float]) -> Array:
    for i in range(len(grid) - 1):
        dt = grid[i + 1] - grid[i]
        here = field(x, grid[i])
        x = x + dt / 2 * (here + field(x + dt * here, grid[i + 1]))
    return x


def log_snr(t: float) -> float:
    """Lambda; -inf at t = 1 and inf at t = 0."""
    if t in (0.0, 1.0):
        return math.inf if t == 0 else -math.inf
    return math.log((1 - t) / t)


def dpm2(field: Field, x: Array, grid: list[float]) -> Array:
    before = None
    last = len(grid) - 2
    for i in range(len(grid) - 1):
        t, s = grid[i], grid[i + 1]
        v = field(x, t)
        clean = x - t * v
        if i in (0, last):
            x = x + (s - t) * v
        else:
            h = log_snr(s) - log_snr(t)
            r = (log_snr(t) - log_snr(grid[i - 1])) / h
            mixed = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * before
            x = s / t * x - (1 - s) * (math.exp(-h) - 1) * mixed
        before = clean
    return x
