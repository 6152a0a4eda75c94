"""What each call of a network in a step depends on: one thing is changed at a time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.contract import Pass, UnsupportedError
from zoo.policy.pipeline.probes import OTHER, SHORT, Call, Probes
from zoo.policy.pipeline.trees import (
    Axes,
    Path,
    differing,
    in_list,
    leaves,
    num_rows,
    portion,
    row_axes,
)


def find_passes(
    probes: Probes, x: Sequence[Tensor], times: Sequence[float], guidance: float | None
) -> tuple[Pass, ...]:
    """The calls of a step, in their order, for latents of one row.

    Raises:
        UnsupportedError: the prompt or the time does not reach a network, or not in a line.
    """
    texts = probes.texts
    many = [a.expand(len(texts), *a.shape[1:]) for a in x]
    at = [probes.step(texts, t, many, guidance)[0] for t in times]
    other = probes.step([OTHER + text[1:] for text in texts], times[0], many, guidance)[0]
    moved = probes.step(texts, times[0], [2 * a for a in many], guidance)[0]
    axes = _axes(probes, at[0], x, times[0], guidance)
    found = []
    for (rows, out_rows), *calls in zip(axes, *at, other, moved, strict=True):
        name, given, made = calls[0]
        time = _times(probes, name, rows, [call[1] for call in calls[:3]], times)
        # Of what is given some may have rows of frames.
        parts = max(
            1, _rows(*((made, out_rows) if out_rows else (given, rows)), len(texts)) // len(texts)
        )
        pairs = [
            [portion(tree, rows, i, parts) for tree in (given, calls[3][1])] for i in range(parts)
        ]
        told = tuple(bool(differing(*pair)) for pair in pairs)
        latents = frozenset(map(in_list, differing(given, calls[4][1])))
        found.append(Pass(name, {**dict.fromkeys(time, 0), **rows}, out_rows, time, latents, told))
    if not any(any(one.told) for one in found):
        raise UnsupportedError("the prompt does not reach the network")
    if not any(one.time for one in found):
        raise UnsupportedError("the time does not reach the network")
    return tuple(found)


def require_no_other_time(
    probes: Probes, x: Sequence[Tensor], times: Sequence[float], guidance: float | None
) -> None:
    """Sees that equal outputs of the networks are equal velocities, whatever the time.

    Raises:
        UnsupportedError: the time reaches the solver otherwise.
    """
    first, *others = (probes.step([SHORT], t, x, guidance)[1] for t in times)
    for other in others:
        for (one, _), (two, _) in zip(first, other, strict=True):
            # Some go to the clean image and back: only rounding may differ.
            if not torch.allclose(one, two, rtol=1e-4, atol=1e-4 * float(one.abs().max())):
                raise UnsupportedError(
                    "the time changes what it hands to its solver, and not through a network "
                    f"alone (at t = {', '.join(map(str, times))})"
                )


def _axes(
    probes: Probes, calls: Sequence[Call], x: Sequence[Tensor], at: float, guidance: float | None
) -> list[tuple[dict[Path, int], dict[Path, int]]]:
    """The axes of rows in what each call takes and gives: by a batch of twice as many.

    A pipeline that takes one prompt a run has two rows by its guidance, or one.
    """
    texts = probes.texts
    if probes.seam.manner.batching != "alone":
        double = [a.expand(2 * len(texts), *a.shape[1:]) for a in x]
        larger = probes.step([*texts, *texts], at, double, guidance)[0]
        pairs = list(zip(calls, larger, strict=True))
    else:
        single = probes.step(texts, at, x)[0]
        if guidance is None or len(single) != len(calls):
            return [({}, {})] * len(calls)
        pairs = list(zip(single, calls, strict=True))
    return [(row_axes(a[1], b[1]), row_axes(a[2], b[2])) for a, b in pairs]


def _times(
    probes: Probes, name: str, rows: Axes, given: Sequence[Any], times: Sequence[float]
) -> dict[Path, tuple[Tensor, Tensor]]:
    """The arguments that are a + b t, by three times."""
    flat, found = [dict(leaves(one)) for one in given], {}
    for path in differing(given[0], given[1]):
        values = [leaf[path].double().cpu() for leaf in flat]
        first, second, third = values
        slope = (second - first) / ((times[1] - times[0]) * probes.seam.scale)
        on_line = first + slope * (times[2] - times[0]) * probes.seam.scale
        close = 1e-4 if flat[0][path].dtype == torch.float32 else 1e-2
        if not torch.allclose(on_line, third, atol=close, rtol=1e-4):
            raise UnsupportedError(
                f"'{path[-1]}' of {name} is no straight line of the time: {_first(first)}, "
                f"{_first(second)}, {_first(third)} at t = {', '.join(map(str, times))}"
            )
        if rows.get(path) == 0:
            first, slope = first[0], slope[0]
        slope = _rounded(slope)
        start = (first - slope * times[0] * probes.seam.scale).round(decimals=5)
        found[path] = (start, slope)
    return found


def _rows(given: Any, rows: Axes, fallback: int) -> int:
    """The most rows that an argument has."""
    counts = [num_rows(given, {path: axis}) for path, axis in rows.items()]
    return max(counts, default=fallback)


def _first(value: Tensor) -> str:
    return f"{float(value.flatten()[0]):.6g}"


def _rounded(slope: Tensor) -> Tensor:
    """To five digits: what single precision leaves of a constant such as 1/1000."""
    places = 10.0 ** (4 - slope.abs().clamp(min=1e-3).log10().floor())
    return (slope * places).round() / places
