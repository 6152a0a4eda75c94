"""A pipeline's own `__call__`, run as far as a question needs.

To its first network for embeddings, to its solver for a velocity, to its timesteps for a grid, past
an empty loop to decode. The pipeline is told one time, as it was written for.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from zoo.policy.pipeline.contract import Family, Manner, UnsupportedError
from zoo.policy.pipeline.dtypes import Dtypes
from zoo.policy.pipeline.keywords import CallKeywords
from zoo.policy.pipeline.names import encoder_of, guidance_keyword, is_network
from zoo.policy.pipeline.questions import Encoded, OwnRun, Question, Through
from zoo.policy.pipeline.remember import Prepared, Remembered
from zoo.policy.pipeline.run import Run
from zoo.policy.pipeline.stand_ins import (
    ReachedError,
    Step,
    network_like,
    recording,
    scheduler_like,
    tell_time,
)
from zoo.policy.pipeline.trees import on_tensors
from zoo.policy.pipeline.twins import encode_most_probable, twin_of

_PLACES = {
    "network": "network was called",
    "step": "solver had stepped all that is denoised",
    "grid": "grid was set",
}


class Seam:
    """A pipeline that is asked one thing at a time: not from several threads."""

    def __init__(
        self, pipe: Any, family: Family, call: Mapping[str, Any], *, negative: str, image: Any
    ) -> None:
        """`call` are keywords of every call; `image` is any that a prompt may have, or none.

        Raises:
            UnsupportedError: it has no network, no scheduler or no `encode_prompt`.
        """
        self.real, self.family, self.any_image = pipe, family, image
        self.networks: dict[str, nn.Module] = {
            name: part for name, part in pipe.components.items() if is_network(part)
        }
        kind = type(pipe).__name__
        if not self.networks or not hasattr(getattr(pipe, "scheduler", None), "step"):
            raise UnsupportedError(f"{kind} has no network and scheduler of its own to be asked")
        self._own_call = inspect.unwrap(type(pipe).__call__)
        self._encoder = encoder_of(pipe, self._own_call)
        self.scheduler = copy.deepcopy(pipe.scheduler)
        self.scale = float(self.scheduler.config.get("num_train_timesteps", 1000))
        takes = inspect.signature(type(pipe).__call__).parameters
        self.keywords = CallKeywords(takes, family, dict(call), negative, image)
        self.device = torch.device("cpu")
        self.manner = Manner(guidance_keyword(pipe, family, takes))
        self.lent: Callable[[], AbstractContextManager[None]] = nullcontext
        """Inside, the encoders of texts and images are on the device."""
        self.dtypes = Dtypes(self.networks)
        self.run = self._new_run(Question("network", ()))
        """The last one: what was asked, and what was noted on the way to the answer."""
        self._pipe = self._twin(
            lambda *call: self.run.network(*call), scheduler_like(self.scheduler, lambda: self.run)
        )
        self._prepared = Prepared()
        remembered = Remembered(lambda: self.run, lambda: self.lent(), lambda: self.device)
        remembered.prompts(self._pipe)
        if image is not None:
            remembered.images(self._pipe)

    def ask(self, question: Question) -> Any:
        """Runs the pipeline's own code until the answer."""
        self.run = self._new_run(question)
        at = None if question.until == "end" else question.at
        where = self.device if self.device.type != "meta" else torch.device("cpu")
        tell_time(self._pipe.scheduler, at, self.scale, where)
        try:
            made = self._call(self._pipe)
        except ReachedError as reached:
            return reached.answer
        if question.until != "end":
            raise UnsupportedError(
                f"it came to its end before its {_PLACES[question.until]}: it called "
                f"scheduler.step {len(self.run.steps)} times in a step"
            )
        return made

    @torch.no_grad()
    def run_own_loop(
        self,
        prompts: Sequence[str],
        guidance: float | None,
        encoded: Encoded,
        *,
        steps: int,
        output: Literal["latent", "pt"] = "latent",
        through: Through | None = None,
    ) -> OwnRun:
        """The pipeline as it is, with its own scheduler; for prompts that are encoded already.

        Its networks are its own, or `through`. Latents are float32, as those of a policy.
        """
        self.run = self._new_run(
            Question("end", prompts, guidance=guidance, encoded=encoded, steps=steps)
        )
        stepped: list[Step] = []
        own = self._twin(through or self._call_network, recording(self.scheduler, stepped))
        made = self._call(own, output_type=output)
        return OwnRun(stepped, made[0] if isinstance(made, tuple) else made, self.run.prepared)

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Inside, the pipeline works on that device."""
        before, self.device = self.device, device
        try:
            with device:
                yield
        finally:
            self.device = before

    def given(self) -> dict[str, Any]:
        """The keywords that its call was given last."""
        return self.keywords.of(self.run.question, self.manner)

    @property
    def vae(self) -> Any:
        """The autoencoder that the pipeline's runs here call."""
        return self._pipe.vae

    def encode(self, prompts: Sequence[str], guidance: float | None, images: Any = None) -> Encoded:
        """What the pipeline's `encode_prompt` gives for these prompts, which share input images."""
        encoded = Encoded([], images)
        self.ask(Question("network", prompts, guidance=guidance, encoded=encoded))
        return Encoded(self.run.replies, images, encoded.kept)

    def _new_run(self, question: Question) -> Run:
        return Run(question, self.manner, len(self.family.states))

    def _call(self, pipe: Any, **more: Any) -> Any:
        """A twin's own call, for the question."""
        if self.manner.guided_by == "guider":
            scale = self.run.question.guidance or 1.0
            pipe.__dict__["guider"] = self.real.guider.new(guidance_scale=scale)
        return self._own_call(pipe, **self.given() | more)

    def _twin(self, call: Through, scheduler: Any) -> Any:
        """The pipeline with this scheduler, its networks called so; a run has its other answers."""
        twin = twin_of(self.real, lambda: self.device)
        cls, parts = type(self.real), twin.__dict__
        for name, network in self.networks.items():
            told = partial(self.dtypes.told, name)
            parts[name] = network_like(network, partial(call, name), told)
        parts["scheduler"] = scheduler
        encode = partial(getattr(cls, self._encoder), twin)
        parts[self._encoder] = partial(self._encode_prompt, encode)
        for state, keyword in enumerate(self.family.states):
            if hasattr(cls, f"prepare_{keyword}"):
                prepare = partial(getattr(cls, f"prepare_{keyword}"), twin)
                parts[f"prepare_{keyword}"] = partial(self._prepare, prepare, state)
        if self.any_image is not None:
            encode_most_probable(twin)
        return twin

    # What is in a twin's place of the pipeline's own.

    def _call_network(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """By the network itself."""
        given = self.dtypes.given(name, {"args": args, "kwargs": kwargs}, self.manner)
        made = self.networks[name](*given["args"], **given["kwargs"])
        return on_tensors(made, lambda leaf: leaf.float())

    def _encode_prompt(self, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.dtypes.replied(self.run.encode_prompt(partial(own, *args, **kwargs)))

    def _prepare(self, own: Callable[..., Any], state: int, *args: Any, **kwargs: Any) -> Any:
        make = partial(own, *args, **kwargs)
        asks_again = self.run.question.until == "step" and not self.manner.by_keyword
        made = self._prepared.of(self.run.question, state, make) if asks_again else make()
        return self.run.latents(state, made)
