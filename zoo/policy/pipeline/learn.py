"""Finding out what a pipeline does: it is run twice with one thing changed, and compared.

Nothing is assumed of a family's names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.contract import Contract, Manner, Pass, UnsupportedError
from zoo.policy.pipeline.find_part import find_kept, find_part
from zoo.policy.pipeline.known import known
from zoo.policy.pipeline.made_up import noise
from zoo.policy.pipeline.passes import find_passes, require_no_other_time
from zoo.policy.pipeline.probes import (
    GUIDED,
    HIGH,
    LONG,
    LOW,
    SHORT,
    Probes,
    num_outputs,
)
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.refusals import telling_why
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.trees import (
    LIST,
    Axes,
    Path,
    in_list,
    joined,
    leaves,
    num_rows,
    on_tensors,
    row_axes,
    rows_at,
    tensors,
)

_BISECTIONS = 40


def learn(seam: Seam) -> Contract:
    """What a pipeline does, on its seam's device; its manner is set to what was found.

    Raises:
        UnsupportedError: it does not keep the contract.
    """
    with telling_why(seam):
        return known(seam, _Learning(seam).contract)


class _Learning:
    """What is found goes into the seam's manner at once, so that the next probe is asked so."""

    def __init__(self, seam: Seam) -> None:
        self._seam, self._probes = seam, Probes(seam)

    @torch.no_grad()
    def contract(self) -> Contract:
        seam = self._seam
        self._find_guidance()
        x = self._find_latents()
        shapes = tuple(tuple(state.shape[1:]) for state in x)
        self._find_batching(x)
        firsts = {self._probes.first_network(times[0]): times for times in (LOW, HIGH)}
        guidances = self._guidances()
        passes = {
            (name, guidance is not None): find_passes(self._probes, x, times, guidance)
            for name, times in firsts.items()
            for guidance in guidances
        }
        for times in firsts.values():
            for guidance in guidances:
                require_no_other_time(self._probes, x, times, guidance)
        encoded = {guidance is not None: self._encoded_axes(guidance) for guidance in guidances}
        offset = None if len(guidances) == 1 else self._offset(x, passes, firsts)
        self._find_narrow(x, [times[0] for times in firsts.values()], guidances)
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

    def _find_narrow(
        self, x: Sequence[Tensor], times: Sequence[float], guidances: Sequence[float | None]
    ) -> None:
        """What networks in half precision are given in it, by a run that knows of their types."""
        seam, probes = self._seam, Probes(self._seam)
        types = seam.dtypes.own
        if set(types.values()) == {torch.float32}:
            return
        probes.texts = self._probes.texts
        narrow: dict[str, frozenset[Path]] = {}
        own = next(iter(types.values()))
        many = [a.expand(len(probes.texts), *a.shape[1:]).to(own) for a in x]
        seam.dtypes.native = True
        try:
            for at, guidance in product(times, guidances):
                for name, given, _ in probes.step(probes.texts, at, many, guidance)[0]:
                    has = {
                        in_list(path)
                        for path, leaf in leaves(given)
                        if isinstance(leaf, Tensor) and leaf.dtype == types[name]
                    }
                    narrow[name] = narrow.get(name, frozenset()) | has
        finally:
            seam.dtypes.native = False
        self._change(narrow=narrow)

    def _change(self, **changes: Any) -> None:
        self._seam.manner = replace(self._seam.manner, **changes)

    def _guidances(self) -> list[float | None]:
        return [None] if self._seam.manner.guided_by is None else [None, GUIDED]

    def _find_guidance(self) -> None:
        """Guidance doubles what the networks give, in one call or in two."""
        if self._seam.manner.guided_by is None:
            return
        size = {
            g: num_outputs(self._probes.step([SHORT], HIGH[0], guidance=g)[0])
            for g in (1.0, GUIDED)
        }
        try:
            size[0.0] = num_outputs(self._probes.step([SHORT], HIGH[0], guidance=0.0)[0])
        except ValueError:  # Some refuse less than 1.
            size[0.0] = size[1.0]
        off = 0.0 if size[0.0] < size[1.0] else 1.0
        self._change(off=off)
        if size[GUIDED] == size[off] and not self._counts_of_calls():
            self._seam.manner = Manner(None)

    def _counts_of_calls(self) -> bool:
        """Whether the scale changes a step whose networks give another thing at every call."""

        def stepped(guidance: float) -> Tensor:
            count = 0

            def through(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                nonlocal count
                count += 1
                return self._probes.constant(name, args, kwargs, seed=count)

            question = Question(
                "step", [SHORT], at=HIGH[0], guidance=guidance, through=through,
                encoded=self._probes.encode([SHORT], guidance),
            )  # fmt: skip
            output: Tensor = self._seam.ask(question)[0][0]
            return output

        return not torch.equal(stepped(1.0), stepped(GUIDED))

    def _find_latents(self) -> list[Tensor]:
        """Any, of one row, in the layout that is stepped or, of a part, that is prepared."""
        first = self._probes.step([SHORT], HIGH[0])[1]
        x = [noise((1, *sample.shape[1:])).to(self._seam.device) for _, sample in first]
        for by_keyword in (True, False):
            self._change(by_keyword=by_keyword)
            if self._steps_what_it_is_given(x):
                self._change(part=find_kept(self._probes, x[0], x[1:]))
                return x
        part = find_part(self._probes, x[1:])
        self._change(part=part)
        return [noise((1, *part.shape)).to(self._seam.device), *x[1:]]

    def _steps_what_it_is_given(self, x: Sequence[Tensor]) -> bool:
        try:
            _, stepped = self._probes.step([SHORT], HIGH[0], x)
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
                for guidance in self._guidances():
                    twice = [torch.cat([a, a]) for a in x]
                    self._probes.step([SHORT, SHORT], HIGH[0], twice, guidance)
            except Exception as error:
                refusal = error
                continue
            self._probes.texts = (SHORT, LONG)
            return
        self._change(batching="alone")
        try:
            self._probes.step([SHORT], HIGH[0], x)
        except (TypeError, ValueError, RuntimeError):
            raise UnsupportedError(f"it takes neither a batch nor one prompt: {refusal}") from None

    def _twice(self) -> Sequence[str]:
        texts = self._probes.texts
        return texts if self._seam.manner.batching == "alone" else [*texts, *texts]

    def _encoded_axes(self, guidance: float | None) -> Axes:
        """Which are rows of prompts.

        Raises:
            UnsupportedError: there are others than one for each prompt.
        """
        once = self._probes.encode(self._probes.texts, guidance).replies
        axes = row_axes(once, self._probes.encode(self._twice(), guidance).replies)
        for path, axis in axes.items():
            rows, prompts = num_rows(once, {path: axis}), len(self._probes.texts)
            if rows != prompts:
                raise UnsupportedError(
                    f"it encodes {prompts} prompts in {rows} rows, of which it is not known whose "
                    "they are"
                )
        return axes

    def _is_independent(self, guidance: float | None, axes: Axes) -> bool:
        """Whether a prompt's embeddings alone are those that it has beside a longer one."""
        if len(self._probes.texts) == 1:
            return False
        alone = self._probes.encode([SHORT], guidance).replies
        first = rows_at(
            self._probes.encode(self._probes.texts, guidance).replies, axes, torch.tensor([0])
        )
        shapes = [[t.shape for t in tensors(tree)] for tree in (alone, first)]
        return shapes[0] == shapes[1] and all(
            torch.allclose(a.double(), b.double(), atol=1e-4 if a.dtype == torch.float32 else 2e-2)
            for a, b in zip(tensors(alone), tensors(first), strict=True)
        ) and not any(axis == LIST for axis in axes.values())  # fmt: skip

    def _boundary(self) -> float:
        """Where one expert ends and the other begins, by bisection."""
        low, high = LOW[0], HIGH[0]
        above = self._probes.first_network(high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (
                (low, middle) if self._probes.first_network(middle) == above else (middle, high)
            )
        return high

    def _offset(
        self,
        x: Sequence[Tensor],
        passes: Mapping[tuple[str, bool], Sequence[Pass]],
        firsts: Mapping[str, Sequence[float]],
    ) -> float:
        """What is added to a usual guidance scale, of which 1 is none: by outputs made up."""
        name, times = next(iter(firsts.items()))
        calls = self._probes.step([SHORT], times[0], x)[0]
        # A pipeline that always guides has a call for each branch also where there is no guidance.
        told = [on_tensors(made, lambda a: noise(a.shape).to(a)) for _, _, made in calls]

        def stepped(guidance: float | None) -> Tensor:
            guided = iter(passes[name, True])
            outputs = iter([*told, *[told[0]] * len(passes[name, True])])

            def through(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                output = next(outputs)
                if guidance is None:
                    return output
                one = next(guided)
                near = on_tensors(output, lambda a: a + 1e-3 * noise(a.shape, seed=1).to(a))
                return joined([output if is_told else near for is_told in one.told], one.out_rows)

            question = Question(
                "step", [SHORT], at=times[0], guidance=guidance, latents=x, through=through,
                encoded=self._probes.encode([SHORT], guidance),
            )  # fmt: skip
            output: Tensor = self._seam.ask(question)[0][0]
            return output.double()

        none = stepped(None)
        at_two, at_three = (float((stepped(g) - none).norm()) for g in (2.0, 3.0))
        ratio = at_two / at_three if at_three else 0.0
        for offset, expected in ((0.0, 1 / 2), (-1.0, 2 / 3)):
            if abs(ratio - expected) < 0.02:
                return offset
        raise UnsupportedError(
            "its guidance is neither pos + (g - 1) (pos - neg) nor pos + g (pos - neg): "
            f"at 2 it changes the velocity {ratio:.3f} times as much as at 3"
        )
