"""Finding out what a pipeline does: it is run twice with one thing changed, and compared.

Nothing is assumed of a family's names, and no network computes more than the shape of its outputs:
what counts is what reaches it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.errors import join_lines
from zoo.policy.pipeline.contract import Contract, Manner, Pass, UnsupportedError
from zoo.policy.pipeline.seam import Encoded, Question, Seam
from zoo.policy.pipeline.trees import (
    LIST,
    Axes,
    Path,
    differing,
    in_list,
    joined,
    leaves,
    num_rows,
    on_tensors,
    portion,
    row_axes,
    rows_at,
    tensors,
)
from zoo.seeds import Draws

_HIGH, _LOW = (0.97, 0.95, 0.93), (0.21, 0.13, 0.07)
"""Times of three probes: two find a line, the third must lie on it."""
_SHORT, _OTHER, _LONG = "a", "b", "a tall green tree by the river"
_GUIDED = 3.0
_BISECTIONS = 40

Call = tuple[str, Any, Any]
"""A network's name, what it was given, and what it gave."""


def learn(seam: Seam) -> Contract:
    """What a pipeline does, on its seam's device; its manner is set to what was found.

    Raises:
        UnsupportedError: it does not keep the contract.
    """
    try:
        return _Learning(seam).contract()
    except UnsupportedError as error:
        raise UnsupportedError(f"{type(seam.real).__name__} cannot be trained: {error}") from error
    except Exception as error:
        # Whatever a pipeline says of what it is asked.
        raise UnsupportedError(
            f"{type(seam.real).__name__} cannot be asked for a step by itself: "
            f"{type(error).__name__}: {join_lines(error)[:300]}"
        ) from error


class _Learning:
    """The probes; what the text encoders and networks gave is kept for the same question again."""

    def __init__(self, seam: Seam) -> None:
        self._seam = seam
        self._encoded: dict[Any, Encoded] = {}
        self._outputs: dict[Any, Any] = {}
        self._texts: Sequence[str] = (_SHORT,)

    @torch.no_grad()
    def contract(self) -> Contract:
        seam = self._seam
        self._find_guidance()
        first = self._probe([_SHORT], _HIGH[0])[1]
        shapes = tuple(tuple(sample.shape[1:]) for _, sample in first)
        x = [_noise((1, *shape)).to(seam.device) for shape in shapes]
        self._find_keyword(x)
        self._find_batching(x)
        firsts = {self._first_network(times[0]): times for times in (_LOW, _HIGH)}
        guidances = [None] if seam.manner.guided_by is None else [None, _GUIDED]
        passes = {
            (name, guidance is not None): self._passes(x, times, guidance)
            for name, times in firsts.items()
            for guidance in guidances
        }
        for times in firsts.values():
            for guidance in guidances:
                self._require_no_other_time(x, times, guidance)
        encoded = {guidance is not None: self._encoded_axes(guidance) for guidance in guidances}
        offset = None if len(guidances) == 1 else self._offset(x, passes, firsts)
        return Contract(
            pipeline=type(seam.real).__name__,
            manner=seam.manner,
            shapes=shapes,
            passes=passes,
            offset=offset,
            boundary=self._boundary() if len(firsts) > 1 else None,
            encoded=encoded,
            independent=all(self._is_independent(g, encoded[g is not None]) for g in guidances),
        )

    def _probe(
        self, texts: Sequence[str], at: float, x: Sequence[Tensor] = (), guidance: float | None = None
    ) -> tuple[list[Call], list[tuple[Tensor, Tensor]]]:
        """The calls of networks in a step, and what was stepped."""
        calls: list[Call] = []

        def through(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            given = {"args": args, "kwargs": kwargs}
            calls.append((name, given, self._output(name, given)))
            return calls[-1][2]

        question = Question(
            "step", texts, at=at, guidance=guidance, latents=x, through=through,
            encoded=self._encode(texts, guidance),
        )  # fmt: skip
        stepped: list[tuple[Tensor, Tensor]] = self._seam.ask(question)
        return calls, stepped

    def _encode(self, texts: Sequence[str], guidance: float | None) -> Encoded:
        key = (*texts, guidance, self._seam.manner.batching)
        if key not in self._encoded:
            self._encoded[key] = self._seam.encode(texts, guidance)
        return self._encoded[key]

    def _output(self, name: str, given: Any) -> Any:
        """What the network gives for arguments of these shapes, the numbers of no matter."""
        shapes = [(path, getattr(leaf, "shape", None)) for path, leaf in leaves(given)]
        key = (name, tuple(shapes))
        if key not in self._outputs:
            network: Any = self._seam.networks[name]
            where, dtype = _device_of(network), network.dtype

            def moved(leaf: Tensor) -> Tensor:
                return leaf.to(where, dtype) if leaf.is_floating_point() else leaf.to(where)

            inputs = on_tensors(given, moved)
            made = network(*inputs["args"], **inputs["kwargs"])
            self._outputs[key] = on_tensors(made, lambda leaf: self._here(leaf))
        return self._outputs[key]

    def _here(self, leaf: Tensor) -> Tensor:
        return _noise(leaf.shape) if leaf.is_meta else leaf.float().to(self._seam.device)

    def _first_network(self, at: float) -> str:
        name: str = self._seam.ask(
            Question("network", self._texts, at=at, encoded=self._encode(self._texts, None))
        )
        return name

    def _change(self, **changes: Any) -> None:
        self._seam.manner = replace(self._seam.manner, **changes)

    def _find_guidance(self) -> None:
        """Guidance doubles what the networks give, in one call or in two."""
        if self._seam.manner.guided_by is None:
            return
        size = {g: _size(self._probe([_SHORT], _HIGH[0], guidance=g)[0]) for g in (1.0, _GUIDED)}
        try:
            size[0.0] = _size(self._probe([_SHORT], _HIGH[0], guidance=0.0)[0])
        except ValueError:  # Some refuse less than 1.
            size[0.0] = size[1.0]
        off = 0.0 if size[0.0] < size[1.0] else 1.0
        self._change(off=off)
        if size[_GUIDED] == size[off]:
            self._seam.manner = Manner(None)

    def _find_keyword(self, x: Sequence[Tensor]) -> None:
        for by_keyword in (True, False):
            self._change(by_keyword=by_keyword)
            if self._steps_what_it_is_given(x):
                return
        raise UnsupportedError(
            "it does not step the latents that it is given"
        )

    def _steps_what_it_is_given(self, x: Sequence[Tensor]) -> bool:
        try:
            _, stepped = self._probe([_SHORT], _HIGH[0], x)
        except (ValueError, RuntimeError):
            return False
        return len(stepped) == len(x) and all(
            given.shape == sample.shape and torch.equal(given, sample.to(given))
            for given, (_, sample) in zip(x, stepped, strict=True)
        )

    def _find_batching(self, x: Sequence[Tensor]) -> None:
        refusal: Exception | None = None
        for batching in ("together",) if self._seam.any_image is None else ("together", "each"):
            self._change(batching=batching)
            try:
                self._probe([_SHORT, _SHORT], _HIGH[0], [torch.cat([a, a]) for a in x])
            except Exception as error:  # noqa: BLE001  (whatever it says of a batch)
                refusal = error
                continue
            self._texts = (_SHORT, _LONG)
            return
        self._change(batching="alone")
        self._encoded.clear()
        try:
            self._probe([_SHORT], _HIGH[0], x)
        except (TypeError, ValueError, RuntimeError):
            raise UnsupportedError(f"it takes neither a batch nor one prompt: {refusal}") from None

    def _twice(self, texts: Sequence[str]) -> Sequence[str]:
        return texts if self._seam.manner.batching == "alone" else [*texts, *texts]

    def _passes(
        self, x: Sequence[Tensor], times: Sequence[float], guidance: float | None
    ) -> tuple[Pass, ...]:
        texts = self._texts
        many = [a.expand(len(texts), *a.shape[1:]) for a in x]
        at = [self._probe(texts, t, many, guidance)[0] for t in times]
        other = self._probe([_OTHER + text[1:] for text in texts], times[0], many, guidance)[0]
        moved = self._probe(texts, times[0], [2 * a for a in many], guidance)[0]
        axes = self._axes(at[0], x, times[0], guidance)
        found = []
        for (rows, out_rows), *calls in zip(axes, *at, other, moved, strict=True):
            name, given, _ = calls[0]
            time = self._times(name, rows, [call[1] for call in calls[:3]], times)
            parts = max(1, _rows(given, rows, len(texts)) // len(texts))
            pairs = [[portion(tree, rows, i, parts) for tree in (given, calls[3][1])] for i in range(parts)]
            told = tuple(bool(differing(*pair)) for pair in pairs)
            latents = frozenset(map(in_list, differing(given, calls[4][1])))
            found.append(Pass({**dict.fromkeys(time, 0), **rows}, out_rows, time, latents, told))
        if not any(any(one.told) for one in found):
            raise UnsupportedError("the prompt does not reach the network")
        if not any(one.time for one in found):
            raise UnsupportedError("the time does not reach the network")
        return tuple(found)

    def _axes(
        self, calls: Sequence[Call], x: Sequence[Tensor], at: float, guidance: float | None
    ) -> list[tuple[dict[Path, int], dict[Path, int]]]:
        """The axes of rows in what each call takes and gives: by a batch of twice as many.

        A pipeline that takes one prompt a run has two rows by its guidance, or one.
        """
        texts = self._texts
        if self._seam.manner.batching != "alone":
            double = [a.expand(2 * len(texts), *a.shape[1:]) for a in x]
            larger = self._probe([*texts, *texts], at, double, guidance)[0]
            pairs = list(zip(calls, larger, strict=True))
        else:
            single = self._probe(texts, at, x)[0]
            if guidance is None or len(single) != len(calls):
                return [({}, {})] * len(calls)
            pairs = list(zip(single, calls, strict=True))
        return [(row_axes(a[1], b[1]), row_axes(a[2], b[2])) for a, b in pairs]

    def _times(
        self, name: str, rows: Axes, given: Sequence[Any], times: Sequence[float]
    ) -> dict[Path, tuple[Tensor, Tensor]]:
        """The arguments that are a + b t, by three times."""
        flat, found = [dict(leaves(one)) for one in given], {}
        for path in differing(given[0], given[1]):
            values = [leaf[path].double().cpu() for leaf in flat]
            first, second, third = values
            slope = (second - first) / ((times[1] - times[0]) * self._seam.scale)
            on_line = first + slope * (times[2] - times[0]) * self._seam.scale
            close = 1e-4 if flat[0][path].dtype == torch.float32 else 1e-2
            if not torch.allclose(on_line, third, atol=close, rtol=1e-4):
                raise UnsupportedError(
                    f"'{path[-1]}' of {name} is no straight line of the time: {_first(first)}, "
                    f"{_first(second)}, {_first(third)} at t = {', '.join(map(str, times))}"
                )
            if rows.get(path) == 0:
                first, slope = first[0], slope[0]
            slope = _rounded(slope)
            start = (first - slope * times[0] * self._seam.scale).round(decimals=5)
            found[path] = (start, slope)
        return found

    def _require_no_other_time(
        self, x: Sequence[Tensor], times: Sequence[float], guidance: float | None
    ) -> None:
        """Equal outputs of the networks must be equal velocities, whatever the time."""
        first, *others = (self._probe([_SHORT], t, x, guidance)[1] for t in times)
        for other in others:
            for (one, _), (two, _) in zip(first, other, strict=True):
                if not torch.equal(one, two):
                    raise UnsupportedError(
                        "the time changes what it hands to its solver, and not through a network "
                        f"alone (at t = {', '.join(map(str, times))})"
                    )

    def _encoded_axes(self, guidance: float | None) -> Axes:
        once = self._encode(self._texts, guidance).replies
        return row_axes(once, self._encode(self._twice(self._texts), guidance).replies)

    def _is_independent(self, guidance: float | None, axes: Axes) -> bool:
        """Whether a prompt's embeddings alone are those that it has beside a longer one."""
        if len(self._texts) == 1:
            return False
        alone = self._encode([_SHORT], guidance).replies
        first = rows_at(self._encode(self._texts, guidance).replies, axes, torch.tensor([0]))
        shapes = [[t.shape for t in tensors(tree)] for tree in (alone, first)]
        return shapes[0] == shapes[1] and all(
            torch.allclose(a.double(), b.double(), atol=1e-2)
            for a, b in zip(tensors(alone), tensors(first), strict=True)
        ) and not any(axis == LIST for axis in axes.values())  # fmt: skip

    def _boundary(self) -> float:
        """Where one expert ends and the other begins, by bisection."""
        low, high = _LOW[0], _HIGH[0]
        above = self._first_network(high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._first_network(middle) == above else (middle, high)
        return high

    def _offset(
        self,
        x: Sequence[Tensor],
        passes: Mapping[tuple[str, bool], Sequence[Pass]],
        firsts: Mapping[str, Sequence[float]],
    ) -> float:
        """What is added to a usual guidance scale, of which 1 is none: by outputs made up."""
        name, times = next(iter(firsts.items()))
        calls = self._probe([_SHORT], times[0], x)[0]
        told = on_tensors(calls[0][2], lambda leaf: leaf + _noise(leaf.shape).to(leaf))
        near = on_tensors(told, lambda leaf: leaf + 1e-3 * _noise(leaf.shape, seed=1).to(leaf))

        def stepped(guidance: float | None) -> Tensor:
            guided = iter(passes[name, True])

            def through(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if guidance is None:
                    return told
                one = next(guided)
                return joined([told if is_told else near for is_told in one.told], one.out_rows)

            question = Question(
                "step", [_SHORT], at=times[0], guidance=guidance, latents=x, through=through,
                encoded=self._encode([_SHORT], guidance),
            )  # fmt: skip
            return self._seam.ask(question)[0][0].double()

        none = stepped(None)
        at_two, at_three = (float((stepped(g) - none).norm()) for g in (2.0, 3.0))
        ratio = at_two / at_three if at_three else 0.0
        for offset, expected in ((0.0, 1 / 2), (-1.0, 2 / 3)):
            if abs(ratio - expected) < 0.02:  # noqa: PLR2004  (far from both)
                return offset
        raise UnsupportedError(
            "its guidance is neither pos + (g - 1) (pos - neg) nor pos + g (pos - neg): "
            f"at 2 it changes the velocity {ratio:.3f} times as much as at 3"
        )


def _rows(given: Any, rows: Axes, fallback: int) -> int:
    """The most rows that an argument has."""
    counts = [num_rows(given, {path: axis}) for path, axis in rows.items()]
    return max(counts, default=fallback)


def _size(calls: Sequence[Call]) -> int:
    return sum(leaf.numel() for _, _, made in calls for leaf in tensors(made))


def _noise(shape: Sequence[int], seed: int = 0) -> Tensor:
    return Draws(0, "probe", 0, torch.tensor([seed])).normal(tuple(shape))[0]


def _device_of(network: Any) -> torch.device:
    device: torch.device = next(network.parameters()).device
    return device


def _first(value: Tensor) -> str:
    return f"{float(value.flatten()[0]):.6g}"


def _rounded(slope: Tensor) -> Tensor:
    """To five digits: what single precision leaves of a constant such as 1/1000."""
    places = 10.0 ** (4 - slope.abs().clamp(min=1e-3).log10().floor())
    return (slope * places).round() / places
