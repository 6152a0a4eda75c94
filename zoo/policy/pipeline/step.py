"""A velocity: the pipeline's own step, in which each row of the network has its own time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.devices import send
from zoo.policy.pipeline.contract import Contract, Pass
from zoo.policy.pipeline.questions import Encoded, Question
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.trees import Path, joined, mapped, on_tensors, portion

Forward = Callable[..., Any]
"""A network's forward, by its name and arguments."""


class Steps:
    """Asks a pipeline what it hands to its solver."""

    def __init__(self, seam: Seam, contract: Contract, forward: Forward) -> None:
        """Networks are called by `forward`, under whatever weights are active."""
        self._seam, self._contract, self._forward = seam, contract, forward

    def __call__(
        self,
        states: list[Float[Tensor, "batch ..."]],
        t: Float[Tensor, " batch"],
        encoded: Encoded,
        guidance: float | None,
        *,
        at: float = 0.5,
    ) -> Float[Tensor, "batch flat"]:
        """What the networks predict at the scheduler's times t in [0, 1], flat and float32.

        The pipeline is told `at`, by which it chooses among its networks; the networks are told t.
        The branch without the prompt has no gradient.
        """
        passes: Iterator[Pass] | None = None

        def through(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal passes
            if passes is None:
                passes = iter(self._contract.passes[name, guidance is not None])
            return self._pass(next(passes), name, {"args": args, "kwargs": kwargs}, t)

        question = Question(
            "step", [""] * len(t), at=at, guidance=guidance, latents=states, encoded=encoded,
            through=through,
        )  # fmt: skip
        return flat([output for output, _ in self._seam.ask(question)], self._contract)

    def _pass(self, one: Pass, name: str, given: Any, t: Tensor) -> Any:
        given = mapped(given, lambda path, leaf: self._argument(one, path, leaf, t))
        given = self._seam.dtypes.given(name, given, self._seam.manner)
        # Portions are alone also without gradients: in half precision a forward of more rows is
        # rounded otherwise, and collecting, the reference and training are to say the same.
        if all(one.told):
            made = self._forward(name, *given["args"], **given["kwargs"])
        else:
            parts, made_of = len(one.told), []
            for i, told in enumerate(one.told):
                part = given if parts == 1 else portion(given, one.rows, i, parts)
                with nullcontext() if told else torch.no_grad():
                    made_of.append(self._forward(name, *part["args"], **part["kwargs"]))
            made = made_of[0] if parts == 1 else joined(made_of, one.out_rows)
        return on_tensors(made, lambda leaf: leaf.float())

    def _argument(self, one: Pass, path: Path, leaf: Any, t: Tensor) -> Any:
        if not isinstance(leaf, Tensor) or path not in one.time:
            return leaf
        start, slope = (send(value, t.device, torch.float64) for value in one.time[path])
        inner = start.ndim if leaf.ndim > start.ndim else 0
        times = start + slope * (t.double() * self._seam.scale).reshape(-1, *[1] * inner)
        rows = times.repeat(len(one.told), *[1] * (times.ndim - 1))
        return rows.to(leaf.dtype)


def flat(stepped: Sequence[Tensor], contract: Contract) -> Float[Tensor, "batch flat"]:
    """What is stepped of each state in a row, float32; of a part 0 for what is kept."""
    first, *others = (each.float() for each in stepped)
    part = contract.manner.part
    begins = first.flatten(1) if part is None else part.spread(first)
    return torch.cat([begins, *(each.flatten(1) for each in others)], dim=1)
