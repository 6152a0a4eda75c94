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
from torch import Tensor, nn

from zoo import seeds
from zoo.policy.pipeline.contract import Family, Manner, UnsupportedError
from zoo.policy.pipeline.names import encoder_of, guidance_keyword, is_network
from zoo.policy.pipeline.questions import Encoded, OwnRun, Question, Through
from zoo.policy.pipeline.stand_ins import (
    ReachedError,
    Step,
    network_like,
    recording,
    scheduler_like,
    tell_time,
)
from zoo.policy.pipeline.trees import Path, in_list, mapped, on_tensors
from zoo.policy.pipeline.twins import (
    encode_most_probable,
    remember_images,
    twin_of,
)

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
        self._run = inspect.unwrap(type(pipe).__call__)
        self._encoder = encoder_of(pipe, self._run)
        self.scheduler = copy.deepcopy(pipe.scheduler)
        self.scale = float(self.scheduler.config.get("num_train_timesteps", 1000))
        self.takes = inspect.signature(type(pipe).__call__).parameters
        self.device = torch.device("cpu")
        self.manner = Manner(guidance_keyword(pipe, family, self.takes))
        self.lent: Callable[[], AbstractContextManager[None]] = nullcontext
        """Inside, the encoders of texts and images are on the device."""
        self._more, self._negative = dict(call), negative
        self._pipe = self._stand_in()
        self._question = Question("network", ())
        self._stepped: list[tuple[Tensor, Tensor]] = []
        self._encoded: list[Any] = []
        self._counts: dict[Any, int] = {}
        self.native = False
        """Whether the pipeline is told the types of its networks."""
        self.prepared: tuple[Any, ...] = ()
        """What `prepare_latents` gave in the last run: latents, and what it made beside them."""

    def ask(self, question: Question) -> Any:
        """Runs the pipeline's own code until the answer."""
        self._question = question
        self._stepped, self._encoded, self._counts = [], [], {}
        at = None if question.until == "end" else question.at
        where = self.device if self.device.type != "meta" else torch.device("cpu")
        tell_time(self._pipe.scheduler, at, self.scale, where)
        kwargs = self._keywords(question)
        try:
            made = self._run(self._pipe, **kwargs)
        except ReachedError as reached:
            return reached.answer
        if question.until != "end":
            raise UnsupportedError(
                f"it came to its end before its {_PLACES[question.until]}: it called "
                f"scheduler.step {len(self._stepped)} times in a step"
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
        self._question = Question("end", prompts, guidance=guidance, encoded=encoded, steps=steps)
        self._encoded, self._counts = [], {}
        stepped: list[Step] = []
        own = twin_of(self.real, lambda: self.device)
        own.__dict__[self._encoder] = self._encode_prompt
        own.__dict__["scheduler"] = recording(self.scheduler, stepped)
        if hasattr(own, "prepare_latents"):
            own.__dict__["prepare_latents"] = partial(self._prepare, own, 0)
        if self.any_image is not None:
            encode_most_probable(own)
        for name, network in self.networks.items():
            own.__dict__[name] = network_like(
                network, _named(through or self._call, name), partial(self._told_type, network)
            )
        if self.manner.guided_by == "guider":
            own.__dict__["guider"] = self.real.guider.new(guidance_scale=guidance or 1.0)
        made = self._run(own, **self._keywords(self._question) | {"output_type": output})
        return OwnRun(stepped, made[0] if isinstance(made, tuple) else made, self.prepared)

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Inside, the pipeline works on that device."""
        before, self.device = self.device, device
        try:
            with device:
                yield
        finally:
            self.device = before

    @property
    def asked(self) -> Question:
        """What it was asked last."""
        return self._question

    def asked_with(self) -> str:
        """All that every question to it has in common."""
        images = self.any_image if isinstance(self.any_image, list) else [self.any_image]
        sizes = [getattr(image, "size", None) for image in images]
        return repr((self.family, self._more, self._negative, sizes))

    def given(self) -> frozenset[str]:
        """The keywords that its call was given last."""
        return frozenset(self._keywords(self._question))

    @property
    def vae(self) -> Any:
        """The autoencoder that the pipeline's runs here call."""
        return self._pipe.vae

    def encode(self, prompts: Sequence[str], guidance: float | None, images: Any = None) -> Encoded:
        """What the pipeline's `encode_prompt` gives for these prompts, which share input images."""
        encoded = Encoded([], images)
        self.ask(Question("network", prompts, guidance=guidance, encoded=encoded))
        return Encoded(self._encoded, images, encoded.kept)

    def _keywords(self, q: Question) -> dict[str, Any]:
        kwargs: dict[str, Any] = {
            "prompt": _texts(q.prompts),
            "num_inference_steps": q.steps,
            "output_type": "pt" if q.until == "end" else "latent",
            # The same every time, and the global state is left alone.
            "generator": seeds.generator(0, "pipeline"),
            "return_dict": False,
            **self._more,
        }
        if self.any_image is not None:
            given = None if q.encoded is None else q.encoded.images
            images = self.any_image if given is None else given
            kwargs["image"] = (
                [images] * len(q.prompts) if self.manner.batching == "each" else images
            )
        if self.manner.by_keyword:
            kwargs |= dict(zip(self.family.states, q.latents, strict=False))
        if q.guidance is not None:
            kwargs["negative_prompt"] = _texts([self._negative] * len(q.prompts))
        if self.manner.guided_by == "guider":
            guider = self.real.guider.new(guidance_scale=q.guidance or 1.0)
            self._pipe.__dict__["guider"] = guider
        elif self.manner.guided_by is not None:
            kwargs[self.manner.guided_by] = self.manner.off if q.guidance is None else q.guidance
        return {key: value for key, value in kwargs.items() if key in self.takes}

    # The pipeline's side: what its stand-ins ask.

    def set_grid(self, steps: int | None, given: dict[str, Any]) -> None:
        """By the real scheduler, where the grid is the question."""
        if self._question.until == "grid":
            by_number = (
                {} if {"sigmas", "timesteps"} & given.keys() else {"num_inference_steps": steps}
            )
            self.scheduler.set_timesteps(**by_number, **given)
            raise ReachedError(self.scheduler)

    def stepped(self, output: Tensor, sample: Tensor) -> Tensor:
        """The answer, once all states were stepped."""
        self._stepped.append((output, sample))
        if len(self._stepped) < len(self.family.states):
            return sample
        raise ReachedError(self._stepped)

    def typed(self, name: str, given: Any) -> Any:
        """A network's arguments in the types that the pipeline itself would give them."""
        dtype: Any = self.networks[name].dtype
        narrow = self.manner.narrow.get(name, frozenset())

        def one(path: Path, leaf: Any) -> Any:
            is_narrow = in_list(path) in narrow and isinstance(leaf, Tensor)
            return leaf.to(dtype) if is_narrow and leaf.is_floating_point() else leaf

        return mapped(given, one)

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """By the network itself."""
        given = self.typed(name, {"args": args, "kwargs": kwargs})
        made = self.networks[name](*given["args"], **given["kwargs"])
        return on_tensors(made, lambda leaf: leaf.float())

    def _told_type(self, network: Any) -> torch.dtype:
        """What a pipeline does beside its networks it does in float32, but where it is `native`."""
        return network.dtype if self.native else torch.float32

    def _network(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._question.until == "network" or self._question.through is None:
            raise ReachedError(name)
        return self._question.through(name, args, kwargs)

    def _encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        count = self._count("encode_prompt")
        encoded = self._question.encoded
        if encoded is not None and count < len(encoded.replies):
            return self._widened(encoded.replies[count])
        own = getattr(type(self.real), self._encoder)
        with torch.no_grad():
            self._encoded.append(own(self._pipe, *args, **kwargs))
        return self._widened(self._encoded[-1])

    def _widened(self, reply: Any) -> Any:
        if self.native:
            return reply
        return on_tensors(reply, lambda leaf: leaf.float() if leaf.is_floating_point() else leaf)

    def _prepare_latents(self, state: int, *args: Any, **kwargs: Any) -> Any:
        """Those given, in the layout that is stepped, float32 whatever the pipeline's type."""
        made = self._prepare(self._pipe, state, *args, **kwargs)
        if len(self._question.latents) <= state:
            return made
        given, part = self._question.latents[state], self.manner.part if state == 0 else None
        if part is None:
            return (given, *made[1:]) if isinstance(made, tuple) else given
        put = part.ended if self._question.until == "end" else part.told
        told = put(self.prepared, given)
        return told if isinstance(made, tuple) else told[0]

    def _prepare(self, twin: Any, state: int, *args: Any, **kwargs: Any) -> Any:
        """What a twin's own method prepares of a state."""
        made = getattr(type(self.real), f"prepare_{self.family.states[state]}")(
            twin, *args, **kwargs
        )
        if state == 0:
            self.prepared = made if isinstance(made, tuple) else (made,)
        return made

    def _remember(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Of the prompts' images, the same calls come in every run: their results are kept."""

        def remembered(*args: Any, **kwargs: Any) -> Any:
            key = (name, self._count(name), len(self._question.prompts))
            # What was found with numbers is of no use to shapes alone.
            encoded = None if self.device.type == "meta" else self._question.encoded
            if encoded is not None and key in encoded.kept:
                return encoded.kept[key]
            with torch.no_grad(), self.lent():
                result = function(*args, **kwargs)
            if encoded is not None:
                encoded.kept[key] = result
            return result

        return remembered

    def _count(self, name: str) -> int:
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        return count

    def _stand_in(self) -> Any:
        """A twin of the pipeline whose networks and scheduler ask."""
        twin = twin_of(self.real, lambda: self.device)
        cls, parts = type(self.real), twin.__dict__
        for name, network in self.networks.items():
            parts[name] = network_like(
                network, _named(self._network, name), partial(self._told_type, network)
            )
        parts["scheduler"] = scheduler_like(self.scheduler, self)
        parts[self._encoder] = self._encode_prompt
        for state, keyword in enumerate(self.family.states):
            if hasattr(cls, f"prepare_{keyword}"):
                parts[f"prepare_{keyword}"] = partial(self._prepare_latents, state)
        if self.any_image is not None:
            encode_most_probable(twin)
            remember_images(twin, self._remember)
        return twin


def _texts(texts: Sequence[str]) -> str | list[str]:
    """One as it is: some pipelines take no list."""
    return texts[0] if len(texts) == 1 else list(texts)


def _named(network: Through, name: str) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    return lambda args, kwargs: network(name, args, kwargs)
