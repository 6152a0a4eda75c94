"""Finding out what a pipeline does: it is run twice with one thing changed, and compared.

Nothing is assumed of a family's names.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from zoo.policy.pipeline.contract import Contract, UnsupportedError
from zoo.policy.pipeline.find_guidance import find_guidance, find_offset
from zoo.policy.pipeline.find_part import find_kept, find_part
from zoo.policy.pipeline.find_rows import encoded_axes, is_independent
from zoo.policy.pipeline.made_up import noise
from zoo.policy.pipeline.passes import find_passes, require_no_other_time
from zoo.policy.pipeline.probes import GUIDED, HIGH, LONG, LOW, SHORT, Probes
from zoo.policy.pipeline.refusals import telling_why
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.trees import Path, in_list, leaves

_BISECTIONS = 40


def learn(seam: Seam) -> Contract:
    """What a pipeline does, on its seam's device; its manner is set to what was found.

    Raises:
        UnsupportedError: it does not keep the contract.
    """
    with telling_why(seam):
        return _Learning(seam).contract()


class _Learning:
    """What is found goes into the seam's manner at once, so that the next probe is asked so."""

    def __init__(self, seam: Seam) -> None:
        self._seam, self._probes = seam, Probes(seam)

    @torch.no_grad()
    def contract(self) -> Contract:
        seam, probes = self._seam, self._probes
        find_guidance(probes)
        x = self._find_latents()
        shapes = tuple(tuple(state.shape[1:]) for state in x)
        self._find_batching(x)
        firsts = {probes.first_network(times[0]): times for times in (LOW, HIGH)}
        guidances = self._guidances()
        passes = {
            (name, guidance is not None): find_passes(probes, x, times, guidance)
            for name, times in firsts.items()
            for guidance in guidances
        }
        for times in firsts.values():
            for guidance in guidances:
                require_no_other_time(probes, x, times, guidance)
        encoded = {guidance is not None: encoded_axes(probes, guidance) for guidance in guidances}
        offset = None if len(guidances) == 1 else find_offset(probes, x, passes, firsts)
        self._find_narrow(x, [times[0] for times in firsts.values()], guidances)
        return Contract(
            pipeline=type(seam.real).__name__,
            manner=seam.manner,
            shapes=shapes,
            passes=passes,
            offset=offset,
            boundary=self._boundary() if len(firsts) > 1 else None,
            encoded=encoded,
            independent=all(is_independent(probes, g, encoded[g is not None]) for g in guidances),
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
        self._probes.change_manner(narrow=narrow)

    def _guidances(self) -> list[float | None]:
        return [None] if self._seam.manner.guided_by is None else [None, GUIDED]

    def _find_latents(self) -> list[Tensor]:
        """Any, of one row, in the layout that is stepped or, of a part, that is prepared."""
        first = self._probes.step([SHORT], HIGH[0])[1]
        x = [noise((1, *sample.shape[1:])).to(self._seam.device) for _, sample in first]
        for by_keyword in (True, False):
            self._probes.change_manner(by_keyword=by_keyword)
            if self._steps_what_it_is_given(x):
                self._probes.change_manner(part=find_kept(self._probes, x[0], x[1:]))
                return x
        part = find_part(self._probes, x[1:])
        self._probes.change_manner(part=part)
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
            self._probes.change_manner(batching=batching)
            try:
                for guidance in self._guidances():
                    twice = [torch.cat([a, a]) for a in x]
                    self._probes.step([SHORT, SHORT], HIGH[0], twice, guidance)
            except Exception as error:
                refusal = error
                continue
            self._probes.texts = (SHORT, LONG)
            return
        self._probes.change_manner(batching="alone")
        try:
            self._probes.step([SHORT], HIGH[0], x)
        except (TypeError, ValueError, RuntimeError):
            raise UnsupportedError(f"it takes neither a batch nor one prompt: {refusal}") from None

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
