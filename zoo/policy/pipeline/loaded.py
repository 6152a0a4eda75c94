"""A policy of a loaded pipeline: run as it is, for rows that have a time each, with gradients."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.policy.base import Images, Latents
from zoo.policy.pipeline.conditions import Conditions
from zoo.policy.pipeline.described import Described
from zoo.policy.pipeline.embeddings import Embeddings, Entry
from zoo.policy.pipeline.families import targets_of
from zoo.policy.pipeline.inputs import InputImages
from zoo.policy.pipeline.keywords import CallOptions
from zoo.policy.pipeline.known import made_anew_if_outdated
from zoo.policy.pipeline.learned import Learned
from zoo.policy.pipeline.networks import NetworkOptions, Trained
from zoo.policy.pipeline.parts import place_parts
from zoo.policy.pipeline.pictures import Pictures
from zoo.policy.pipeline.predict import Predictions
from zoo.policy.pipeline.refusals import telling_why
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.source import Source
from zoo.policy.pipeline.step import Steps
from zoo.policy.pipeline.trees import differing
from zoo.policy.pipeline.velocities import Velocities
from zoo.policy.pipeline.verify import verify
from zoo.policy.pretrained import Precision
from zoo.policy.waiting import network_device
from zoo.policy.weights import WeightSets
from zoo.prompt import Prompt
from zoo.rollout import Cond


class PipelinePolicy(Described):
    """What `diffusers` and `scenes` are; their constructors name the options of recipes.

    Its networks, encoders and weights are loaded once. What the pipeline does is found at a size of
    pictures, and anew for another: `sized`.
    """

    def __init__(
        self,
        device: torch.device,
        source: Source,
        call: CallOptions,
        network: NetworkOptions,
        *,
        cached_prompts: int,
        decode_batch: int,
        allow_unguided: bool = False,
    ) -> None:
        """Loads the pipeline and finds out what it does.

        Raises:
            UnsupportedError: the pipeline does not keep the contract.
            ValueError: the model cannot be had, or an option does not fit it.
        """
        self.device, self._source, self._call = device, source, call
        self._learns_on = torch.device("cpu") if device.type == "meta" else device  # has numbers
        self._precision = Precision.of(network.dtype, network.lora, source.family.wide)
        self.num_inputs, self._portion = source.family.inputs, decode_batch
        source.require(call)  # what is wrong is said before weights load
        self._waits = network_device(device) != device
        options = dict(vars(self))

        def make() -> None:
            self.__dict__ = dict(options)  # what another attempt has loaded goes first
            self._load(network, cached_prompts)

        made_anew_if_outdated(make)
        self.needs_guidance = self._learned.clock.noise is not None and not allow_unguided

    def _load(self, network: NetworkOptions, cached_prompts: int) -> None:
        self._pipe = self._source.load(self._precision, self.device)
        place_parts(self._pipe, self.device, networks_on=network_device(self.device))
        self._learn(self._call)
        self._trained = Trained(self.seam.networks, network.trains, self.contract.told)
        self._trained.place_others(self.device)
        with self._found():
            self._texts = Embeddings(self.seam, self.contract, self._learns_on, kept=cached_prompts)
            self.weights = WeightSets(
                self._trained.network,
                network.lora,
                default_targets=self._source.family.targets or targets_of(self._trained.network),
                copies_on=network.copies_on,
                casts=self._precision.casts,
            )
            self._connect()

    def sized(self, size: Mapping[str, Any]) -> "PipelinePolicy":
        """The same networks and encoders, asked for images of another size.

        All that was found is found anew, and checked against the pipeline's own loop again.

        Raises:
            UnsupportedError: the pipeline does not keep the contract at this size.
            ValueError: it takes no such size.
        """
        call = self._call.sized(size)
        self._source.require(call)
        other = copy.copy(self)

        def make() -> None:
            other._learn(call)
            alike = not differing(other._learned.some.replies, self._learned.some.replies)
            with other._found():
                other._texts = self._texts.of(other.seam, other.contract, alike=alike)
                other._connect()

        with self._texts.on_device():
            made_anew_if_outdated(make)
        return other

    def _learn(self, call: CallOptions) -> None:
        """Finds out what the pipeline does when it is asked so."""
        family, kind = self._source.family, type(self._pipe).__name__
        self._inputs = InputImages(self.num_inputs, call.size, kind)
        keywords, image = call.keywords(self._source.cls, family), self._inputs.any()
        self.seam = Seam(self._pipe, family, keywords, negative=call.negative, image=image)
        self._learned = Learned(self.seam, self._learns_on, anew=self._waits)
        self.contract = self._learned.contract

    def _connect(self) -> None:
        """Has velocities and pictures made as was found, and checks them."""
        seam, contract = self.seam, self.contract
        steps = Steps(seam, contract, partial(self._trained.forward, self.weights))
        seam.device = self.device
        self._conditions = Conditions(self._texts, contract, self._inputs, self.device)
        any_told = self._conditions.tell([Entry("a", "any")], None, {"any": seam.any_image})
        self._pictures = Pictures(seam, contract, any_told.tables[0].encoded, portion=self._portion)
        predict = Predictions(steps, self._pictures, contract, self._trained, self.weights)
        self._velocities = Velocities(seam, contract, self._learned.clock, predict)
        alone = contract.manner.batching == "alone" or self.num_inputs > 0
        self.even_forwards = not alone and contract.boundary is None
        self.latent_shape = contract.latent_shape
        self.verified: Mapping[str, float] = {}
        self._verify = partial(verify, seam, contract, steps, self._precision.computing)
        if self.device.type != "meta" and not self._waits:
            self._require_own_loop()

    def _require_own_loop(self) -> None:
        """Asks for the numbers of the pipeline's own loop; the network is on the device."""
        with self._texts.on_device(), telling_why(self.seam):
            self.verified = self._verify(self._pictures.decode)

    def _found(self) -> AbstractContextManager[None]:
        """What goes well inside is known from now on, but where no numbers were asked for yet."""
        return nullcontext() if self._waits else self._learned.known.kept()

    def ready(self) -> None:
        """What was found is checked against the pipeline's own loop, which needs the network.

        Raises:
            UnsupportedError: the pipeline does not keep the contract.
        """
        if self._waits:
            with self._learned.known.kept():
                self._require_own_loop()

    def expect(self, coming: Callable[[], Sequence[Prompt]], *, guidance: float = 1.0) -> None:
        """Of prompts without input images the embeddings are made with the next that are."""
        if not self.num_inputs:
            texts = lambda: [prompt.text for prompt in coming()]  # noqa: E731
            self._texts.expect(texts, guided=guidance != 1.0)

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """Tables of what the pipeline's own encoders give, for all texts together."""
        return self._conditions(prompts, guidance)

    def velocity(self, x: Latents, t: Float[Tensor, " batch"], cond: Cond) -> Latents:
        """dx/dt; the branch without the prompt has no gradient."""
        return self._velocities(x, t, cond)

    def decode(self, latents: Latents) -> Images:
        """Images or videos by the pipeline's own end, a few at a time."""
        return self._pictures.decode(latents)

    def latents(self, images: Images) -> Latents:
        """The most probable latents.

        Raises:
            ValueError: the images are not of the policy's size.
            UnsupportedError: the pipeline decodes no shifted, scaled and permuted latent.
        """
        return self._pictures.encode(images)

    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """The pipeline's own, which may depend on the number of steps."""
        return self._learned.grid(num_steps)
