"""What a pipeline is asked, and with which prompts; and what came of a run of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.policy.pipeline.stand_ins import Step
from zoo.policy.pipeline.trees import Axes, rows_at

Through = Callable[[str, tuple[Any, ...], dict[str, Any]], Any]
"""What a network's call gives, by its name and arguments."""


@dataclass(frozen=True)
class Encoded:
    """Prompts as a pipeline needs them: what its `encode_prompt` gave, call by call.

    `images` are the input images of all of them. `kept` is what it made of these, and of the
    prompts, by call. `rows` are the prompts' places among those that `kept` is of; None: all.
    """

    replies: Sequence[Any]
    images: Any = None
    kept: dict[Any, Any] = field(default_factory=dict)
    rows: tuple[int, ...] | None = None

    def of_rows(self, axes: Axes, rows: Sequence[int]) -> "Encoded":
        """The prompts at these places, of all."""
        places = torch.tensor(rows, dtype=torch.long, device="cpu")
        return replace(self, replies=rows_at(self.replies, axes, places), rows=tuple(rows))


@dataclass(frozen=True)
class OwnRun:
    """A pipeline's own run: every step, what came of it, and the latents that it had prepared."""

    steps: list[Step]
    made: Any
    prepared: tuple[Any, ...]


@dataclass(frozen=True)
class Question:
    """What a run is to find; `at` is its only time, t, and `guidance` a scale as the family has it.

    A run until the step gives what is handed to the solver, output and sample, for each state.
    """

    until: Literal["network", "step", "grid", "end"]
    prompts: Sequence[str]
    at: float = 0.5
    guidance: float | None = None
    latents: Sequence[Tensor] = ()
    encoded: Encoded | None = None
    steps: int = 2
    through: Through | None = None
