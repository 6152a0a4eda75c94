"""Full fine-tuning's networks: live's, and a copy for every other set, on its device or the host.

A copy in the host's memory is lent to the device for as long as it is in use: what comes back is
nothing, for a forward changes no weights.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

from torch import Tensor, nn
from torch.func import functional_call

from zoo.devices import is_accelerator, shared_host_memory
from zoo.rollout import Weights

CopiesOn = Literal["device", "cpu"]


class Networks(nn.Module):
    """The network of live, and in full fine-tuning one for every other set; one is active."""

    def __init__(self, network: nn.Module, copies_on: CopiesOn) -> None:
        super().__init__()
        self.sets = nn.ModuleDict({Weights.LIVE.value: network})
        self.active = Weights.LIVE
        self._on_host = copies_on == "cpu"
        self._lent: dict[Weights, dict[str, Tensor]] = {}
        self._lends_nothing = False

    def add(self, sets: Sequence[Weights]) -> dict[Weights, dict[str, nn.Parameter]]:
        """Has live trained, and makes a copy of it for the other sets: the parameters of all."""
        live = self.of(Weights.LIVE).requires_grad_(True)
        for which in sets:
            if which is not Weights.LIVE:
                # Given to deepcopy, so that the device never holds a whole copy besides.
                parameters = list(live.parameters()) if self._on_host else []
                on_host = dict(zip(map(id, parameters), _on_host(parameters), strict=True))
                self.sets[which.value] = deepcopy(live, on_host).requires_grad_(False)
        return {which: dict(self.of(which).named_parameters()) for which in sets}

    def of(self, which: Weights) -> nn.Module:
        """The network of a set."""
        return self.sets[which.value]

    @contextmanager
    def lend(self, which: Weights) -> Iterator[None]:
        """Inside, the set is on live's device, moved there once."""
        here = not self._on_host or which is Weights.LIVE or which in self._lent
        if here or self._lends_nothing:
            yield
            return
        self._copy_to_device(which)
        try:
            yield
        finally:
            del self._lent[which]

    @contextmanager
    def lend_nothing(self) -> Iterator[None]:
        """Inside no other set is moved: none is asked but what is lent already."""
        before, self._lends_nothing = self._lends_nothing, True
        try:
            yield
        finally:
            self._lends_nothing = before

    def refresh(self, which: Weights) -> None:
        """A set has other values now, which its forwards must have too."""
        if which in self._lent:
            self._copy_to_device(which)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Of the active set."""
        network, lent = self.of(self.active), self._lent.get(self.active)
        if lent is None:
            return network(*args, **kwargs)
        return functional_call(network, lent, args, kwargs)

    def _copy_to_device(self, which: Weights) -> None:
        # The host goes on meanwhile. A blend first fetches live, and so waits for this.
        live = dict(self.of(Weights.LIVE).named_parameters())
        self._lent[which] = {
            name: p.detach().to(live[name].device, non_blocking=True, copy=True)
            for name, p in self.of(which).named_parameters()
        }


def _on_host(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Copies there; of a dry run of shapes, where there is nothing to move, in no memory at all."""
    values = [p.detach() for p in parameters]
    there = next((value.device for value in values if is_accelerator(value.device)), None)
    if there is None:
        copied = [v.clone() if v.is_meta else v.to("cpu", copy=True) for v in values]
    else:
        # Page-locked memory moves without the host waiting for it.
        pieces = shared_host_memory(values, there)
        copied = [piece.copy_(value) for piece, value in zip(pieces, values, strict=True)]
    return [nn.Parameter(value, requires_grad=False) for value in copied]
