"""One run of a pipeline's own code towards an answer: what it is told there, and what is noted."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.contract import Manner
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.stand_ins import ReachedError


class Run:
    """Who answers for a pipeline's parts; unwinds the pipeline once it came to the answer."""

    def __init__(self, question: Question, manner: Manner, num_states: int) -> None:
        """Of a pipeline that is asked in this `manner` and denoises so many states."""
        self.question = question
        self.steps: list[tuple[Tensor, Tensor]] = []
        """What was handed to the solver: output and sample, for each state."""
        self.replies: list[Any] = []
        """What `encode_prompt` gave where the question did not have it, call by call."""
        self.prepared: tuple[Any, ...] = ()
        """What `prepare_latents` gave: latents, and what it made beside them."""
        self._manner, self._num_states = manner, num_states
        self._counts: dict[str, int] = {}

    def set_grid(self, scheduler: Any, steps: int | None, given: dict[str, Any]) -> None:
        """By the real scheduler, where the grid is the question."""
        if self.question.until == "grid":
            by_number = (
                {} if {"sigmas", "timesteps"} & given.keys() else {"num_inference_steps": steps}
            )
            scheduler.set_timesteps(**by_number, **given)
            raise ReachedError(scheduler)

    def stepped(self, output: Tensor, sample: Tensor) -> Tensor:
        """The answer, once all states were stepped."""
        self.steps.append((output, sample))
        if len(self.steps) < self._num_states:
            return sample
        raise ReachedError(self.steps)

    def network(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the question has in the place of that network, or the answer: its name."""
        if self.question.until == "network" or self.question.through is None:
            raise ReachedError(name)
        return self.question.through(name, args, kwargs)

    def encode_prompt(self, own: Callable[[], Any]) -> Any:
        """The question's reply to this call, or the pipeline's own."""
        count, encoded = self._count("encode_prompt"), self.question.encoded
        if encoded is not None and count < len(encoded.replies):
            return encoded.replies[count]
        with torch.no_grad():
            self.replies.append(own())
        return self.replies[-1]

    def latents(self, state: int, made: Any) -> Any:
        """Those of the question for what was `made` of a state, in the layout that is stepped.

        float32, whatever the pipeline's type.
        """
        if state == 0:
            self.prepared = made if isinstance(made, tuple) else (made,)
        if len(self.question.latents) <= state:
            return made
        given, part = self.question.latents[state], self._manner.part if state == 0 else None
        if part is None:
            return (given, *made[1:]) if isinstance(made, tuple) else given
        put = part.ended if self.question.until == "end" else part.told
        told = put(self.prepared, given)
        return told if isinstance(made, tuple) else told[0]

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What a call makes of the prompts' images: the same calls come in every run."""
        key, encoded = (name, self._count(name), len(self.question.prompts)), self.question.encoded
        if encoded is None:
            return make()
        if key not in encoded.kept:
            encoded.kept[key] = make()
        return encoded.kept[key]

    def kept_of_rows(self, name: str, make: Callable[[], Any]) -> Any:
        """What a call makes of the prompts: of those rows that were asked for last it is kept."""
        key, encoded = (name, self._count(name)), self.question.encoded
        if encoded is None:
            return make()
        if key not in encoded.kept or encoded.kept[key][0] != encoded.rows:
            encoded.kept[key] = encoded.rows, make()
        return encoded.kept[key][1]

    def _count(self, name: str) -> int:
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        return count
