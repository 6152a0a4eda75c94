"""The policy `diffusers`: any pipeline that keeps the contract of diffusers' pipelines.

A pipeline calls its network and hands its scheduler what it makes of the outputs. That is run as it
is, for rows that have a time each, with gradients; nothing is written for a model family.
"""

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from zoo.policy.parts import num_numbers
from zoo.policy.pipeline.clock import PREDICTIONS, read_clock
from zoo.policy.pipeline.contract import Family, UnsupportedError
from zoo.policy.pipeline.embeddings import Embeddings, Entry
from zoo.policy.pipeline.families import family_of, targets_of
from zoo.policy.pipeline.inputs import InputImages
from zoo.policy.pipeline.kept import with_kept
from zoo.policy.pipeline.keywords import call_keywords, size_of
from zoo.policy.pipeline.learn import learn
from zoo.policy.pipeline.networks import Trained
from zoo.policy.pipeline.parts import (
    HollowEncoder,
    load_pipeline,
    pipeline_class,
    place_parts,
    shape_pipeline,
)
from zoo.policy.pipeline.pictures import Pictures
from zoo.policy.pipeline.predict import Predictions
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.refusals import require_arguments, telling_why
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.solver import aligned
from zoo.policy.pipeline.step import Steps
from zoo.policy.pipeline.told import Told
from zoo.policy.pipeline.trees import differing
from zoo.policy.pipeline.unloaded import Unloaded
from zoo.policy.pipeline.verify import verify
from zoo.policy.pretrained import Dtype, Precision, Pretrained
from zoo.policy.weights import CopiesOn, Lora, WeightSets
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup
from zoo.storage.place import Place

_HOST = torch.device("cpu")
_SIZE = 512, 512
"""Of input images where a pipeline is told no size."""
Side = Annotated[int, Ge(8)]


class Diffusers(Unloaded):
    """A text-to-image, editing or video pipeline of diffusers; LoRA on its attention by default.

    `pretrained` is a folder in diffusers' layout or a hub id. What the pipeline does is not written
    down for each: it is found when it is loaded, in seconds, and checked against the pipeline's own
    loop. One that does otherwise is refused. Latents have the shape that the pipeline steps.
    """

    sizes: ClassVar[tuple[str, ...]] = ("resolution", "frames")

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        pretrained: Place,
        pipeline: str | None = None,
        revision: str | None = None,
        variant: str | None = None,
        parts: Place | None = None,
        without: tuple[str, ...] = (),
        resolution: Side | tuple[Side, Side] | None = 512,
        frames: Annotated[int, Ge(1)] | None = None,
        negative: str = "",
        call: Mapping[str, Any] | None = None,
        family: Family | None = None,
        allow_unguided: bool = False,
        dtype: Dtype = "bfloat16",
        lora: Lora | None = Lora(rank=32, alpha=64),  # noqa: B008  (frozen)
        trains: tuple[str, ...] = (),
        max_text_tokens: Annotated[int, Ge(1)] | None = None,
        cached_prompts: Annotated[int, Ge(0)] = 1024,
        decode_batch: Annotated[int, Ge(1)] = 8,
        copies_on: CopiesOn = "device",
    ) -> None:
        """`pretrained` is a folder, a hub id, or a single file as published (`.safetensors`).

        Of a single file the network is taken, and all else from `parts`, a folder or hub id; null
        is the pipeline that diffusers takes it for. `without` are parts that a pipeline can do
        without: the T5 of SD3, say. `pipeline` is a class of diffusers, and by default the one that
        the model names.

        `resolution` is of a square, or [width, height]; null, where the pipeline is told none.
        `frames` is the length of a video. `negative` is the prompt that guidance leads away from.
        `call` are further keywords of every call of the pipeline, `guidance_scale` of a model with
        embedded guidance, say. `family` is what the pipeline cannot be asked; null takes what is
        known of it here. Models that predict noise collapse without guidance: `allow_unguided`
        collects so nevertheless. Of a pipeline with two networks `trains` names those that are
        trained, by default all. `max_text_tokens` null is the pipeline's own. `cached_prompts`
        embeddings are kept in the host's memory where each depends on its text alone.
        `lora` null trains all, in float32 that is cast to `dtype` in every forward.
        `decode_batch` images or frames are decoded together. With `copies_on` cpu the old,
        reference and EMA weights of training all are in the host's memory, and on the device while
        they are used.

        Raises:
            UnsupportedError: the pipeline does not keep the contract.
            ValueError: the model cannot be had, or an option does not fit it.
        """
        self.device = device
        self._files, self._without = Pretrained.of(pretrained, revision, variant, parts), without
        cls = pipeline_class(self._files, pipeline)
        self._family, self._negative = family or family_of(cls.__name__), negative
        self._precision = Precision.of(dtype, lora, self._family.wide)
        self.num_inputs, self._portion = self._family.inputs, decode_batch
        more = {**self._family.call, **(call or {})}
        self._keywords = partial(call_keywords, cls, max_text_tokens=max_text_tokens, more=more)
        self._keywords(size_of(resolution), frames)  # what is wrong is said before weights load
        self._pipe = self._load(cls)
        self.seam = self._seam_for(resolution, frames)
        place_parts(self._pipe, self.seam.networks, device)
        self._learn()
        self._texts = Embeddings(self.seam, self.contract, self._learns_on, kept=cached_prompts)
        self._trained = Trained(self.seam.networks, trains)
        network = self._trained.network
        targets = self._family.targets or targets_of(network)
        self.weights = WeightSets(
            network, lora, default_targets=targets, copies_on=copies_on, casts=self._precision.casts
        )
        self.needs_guidance = self._clock.noise is not None and not allow_unguided
        self._connect()

    def sized(self, size: Mapping[str, Any]) -> "Diffusers":
        """The same networks and encoders, asked for images of another size.

        All that was found of the pipeline is found anew, and checked against its own loop again.

        Raises:
            UnsupportedError: the pipeline does not keep the contract at this size.
            ValueError: it takes no such size.
        """
        other = copy.copy(self)
        with self._texts.on_device():
            other.seam = other._seam_for(size["resolution"], size.get("frames"))
            other._learn()
            alike = not differing(other._some.replies, self._some.replies)
            other._texts = self._texts.of(other.seam, other.contract, alike=alike)
            other._connect()
        return other

    def _seam_for(self, resolution: int | tuple[int, int] | None, frames: int | None) -> Seam:
        """The pipeline, to be asked for images of this size."""
        size, kind = size_of(resolution), type(self._pipe).__name__
        self._inputs = InputImages(self.num_inputs, size or _SIZE, kind)
        keywords = self._keywords(size, frames)
        return Seam(
            self._pipe, self._family, keywords, negative=self._negative, image=self._inputs.any()
        )

    def _learn(self) -> None:
        """Finds out what the pipeline does at the size that its seam asks for."""
        with self.seam.on(self._learns_on):
            with telling_why(self.seam):
                require_arguments(self.seam)
                self._some = self.seam.encode(["a"], None)
                self._clock = read_clock(self.seam.scheduler, self._set_grid)
            self.contract = learn(self.seam)
            with telling_why(self.seam):
                self._clock = aligned(self.seam, self.contract, self._clock, self.grid)

    def _connect(self) -> None:
        """Has velocities and pictures made as was found, and checks them."""
        steps = Steps(self.seam, self.contract, self._forward)
        self.seam.device = self.device
        some = self._tell([Entry("a", "any")], None, {"any": self.seam.any_image}).tables[0].encoded
        self._pictures = Pictures(self.seam, self.contract, some, portion=self._portion)
        self._predict = Predictions(
            steps, self._pictures, self.contract, self._trained, self.weights
        )
        alone = self.contract.manner.batching == "alone" or self.num_inputs > 0
        self.even_forwards = not alone and self.contract.boundary is None
        self.latent_shape = self._shape()
        self.verified = self._verify(steps)

    def _shape(self) -> tuple[int, ...]:
        """Of one latent, as velocities take them."""
        return self.contract.latent_shape

    @property
    def network_folder(self) -> str:  # type: ignore[override]
        """The part of the pipeline that is trained."""
        return self._trained.names[0]

    def findings(self) -> Mapping[str, Any]:
        """How the pipeline is asked, what reaches its networks, and how it was checked."""
        import diffusers

        return {
            **self.contract.describe(),
            "trained": list(self._trained.names),
            "predicts": PREDICTIONS[self._clock.kind],
            "diffusers": diffusers.__version__,
            "differs from its own loop": dict(self.verified),
        }

    def encoder_bytes(self) -> int:
        """Those of the pipeline's encoders of texts and images, by their files or configurations.

        Raises:
            ValueError: they cannot be had.
        """
        encoders = [
            name
            for name, part in self.seam.real.components.items()
            if isinstance(part, HollowEncoder)
        ]
        return sum(
            num_numbers(self._files, name) * self._precision.part(name, is_network=False).itemsize
            for name in encoders
        )

    def write_rest(self, folder: Path) -> None:
        """All parts of the pipeline but for the network, and its index."""
        self._files.copy_parts(folder, network=self.network_folder, without=self._without)

    def expect(self, coming: Callable[[], Sequence[Prompt]], *, guidance: float = 1.0) -> None:
        """Of prompts without input images the embeddings are made with the next that are."""
        if not self.num_inputs:
            texts = lambda: [prompt.text for prompt in coming()]  # noqa: E731
            self._texts.expect(texts, guided=guidance != 1.0)

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """Tables of what the pipeline's own encoders give, for all texts together."""
        offset = self.contract.offset
        if guidance != 1.0 and offset is None:
            raise UnsupportedError(
                f"{self.contract.pipeline} has no classifier-free guidance and it is {guidance:g}; "
                "write guidance: 1"
            )
        scale = None if guidance == 1.0 else guidance + (offset or 0.0)
        entries = [Entry(prompt.text, self._inputs.of(prompt)) for prompt in prompts]
        distinct = {entry: i for i, entry in enumerate(dict.fromkeys(entries))}
        images = self._inputs.open(prompts)
        told = self._tell(list(distinct), scale, images)
        if scale is not None:
            plain = cache(lambda: self._tell(list(distinct), None, images))
            told = replace(told, unguided=plain)
        row = torch.tensor([distinct[entry] for entry in entries], device=_HOST)
        lookup = Lookup(torch.arange(len(distinct), device=_HOST), row)
        return Cond({"entry": lookup}, guidance, told)

    def velocity(
        self, x: Float[Tensor, "batch *latent"], t: Float[Tensor, " batch"], cond: Cond
    ) -> Float[Tensor, "batch *latent"]:
        """dx/dt; the branch without the prompt has no gradient."""
        entry = cond.tensors["entry"]
        assert isinstance(entry, Lookup)
        told: Told = cond.layout.at(cond.guidance)
        entries = entry.index.tolist()
        made = self._clock.velocity(
            lambda inner, times: self._predict(inner, times, entries, told), x, t
        )
        return with_kept(self.seam, self.contract, made, x, t, entries, told)

    def decode(
        self, latents: Float[Tensor, "batch *latent"]
    ) -> Float[Tensor, "batch *frames 3 height width"]:
        """Images or videos by the pipeline's own end, a few at a time."""
        return self._pictures.decode(latents)

    def latents(
        self, images: Float[Tensor, "batch *frames 3 height width"]
    ) -> Float[Tensor, "batch *latent"]:
        """The most probable latents.

        Raises:
            ValueError: the images are not of the policy's size.
            UnsupportedError: the pipeline decodes no shifted, scaled and permuted latent.
        """
        return self._pictures.encode(images)

    @torch.no_grad()
    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """The pipeline's own, which may depend on the number of steps."""
        return self._clock.grid(self._set_grid(num_steps))

    def _forward(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._trained.forward(self.weights, name, *args, **kwargs)

    @property
    def _learns_on(self) -> torch.device:
        """Numbers are needed to learn, also where the networks are shapes alone."""
        return _HOST if self.device.type == "meta" else self.device

    def _load(self, cls: Any) -> Any:
        if self.device.type == "meta":
            return shape_pipeline(self._files, cls, self._precision, self._without)
        return load_pipeline(self._files, cls, self._precision, self._without)

    def _set_grid(self, num_steps: int) -> Any:
        return self.seam.ask(Question("grid", ["a"], steps=num_steps, encoded=self._some))

    def _tell(
        self, entries: Sequence[Entry], scale: float | None, images: Mapping[Hashable, Any]
    ) -> Told:
        with self.seam.on(self._learns_on):
            tables = self._texts(entries, scale, images)
        return Told(tuple(table.on(self.device) for table in tables), scale)

    def _verify(self, steps: Steps) -> Mapping[str, float]:
        """Against the pipeline's own loop, where there are numbers."""
        if self.device.type == "meta":
            return {}
        decode = self._pictures.decode
        with self._texts.on_device(), telling_why(self.seam):
            return verify(self.seam, self.contract, steps, self._precision.computing, decode)
