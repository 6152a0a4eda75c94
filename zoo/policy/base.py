"""The Policy interface: one model family, as five operations on latents, prompts and images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from zoo.data.text_limit import TextLimit
from zoo.policy.weights import WeightSets
from zoo.prompt import Prompt
from zoo.rollout import Cond

EXACT = "exact"
"""In what was found of a pipeline: its contracts as `zoo.policy.pipeline.written` has them."""
Makes = Literal["images", "videos"]
Latents = Float[Tensor, "batch *latent"]
Images = Float[Tensor, "batch *frames 3 height width"]


class Policy(ABC):
    """One family of flow-matching models.

    Everything particular to a family (text encoders, packing of latents, position ids, guidance,
    VAE) stays inside. Latents are float32. A constructor takes the device as its only positional
    argument: `def __init__(self, device: torch.device, /, *, option: type = default)`.

    On the device `meta`, where tensors have shapes and no numbers, it reads no weights but the
    model's configuration, and `encode`, `velocity` and `decode` give meta tensors: `zoo check`
    estimates memory by it. A policy that cannot do this trains all the same, without an estimate.
    """

    weights: WeightSets
    """The network and its sets; `velocity` calls the network only as `self.weights(...)`."""

    latent_shape: tuple[int, ...]
    """[C, H, W], or [C, T, H, W] for video."""

    needs_guidance: bool = False
    """Whether images without classifier-free guidance are of no use: models of the noise."""

    even_forwards: bool = True
    """Whether as many rows always make as many forwards, whatever their times and prompts."""

    num_inputs: int = 0
    """The images that the model is given with each prompt, to edit or to animate."""

    sizes: ClassVar[tuple[str, ...]] = ()
    """The options that say how large its images are, for `sized`; none: they have one size."""

    network_folder: ClassVar[str] = "."
    """Where the network is in a published model's folder: by default it is all that there is."""

    @abstractmethod
    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """The prompts as the network needs them, a row a prompt; per-prompt tensors as Lookups.

        Raises:
            PromptError: a prompt that this family cannot read.
        """

    def expect(  # noqa: B027
        self, coming: Callable[[], Sequence[Prompt]], *, guidance: float = 1.0
    ) -> None:
        """Prompts that `encode` is going to be asked for, in this order; by default no matter.

        A policy that keeps embeddings may make theirs with the next that it makes: encoders that
        are on the device only while they are used then go there once for all of them.
        """

    @abstractmethod
    def velocity(self, x: Latents, t: Float[Tensor, " batch"], cond: Cond) -> Latents:
        """dx/dt at time t in [0, 1] under the active weights, with the guidance of `cond` applied.

        float32. Gradients flow through the conditional branch only.
        """

    @abstractmethod
    def decode(self, latents: Latents) -> Images:
        """Images in [0, 1], float32, on the policy's device."""

    @abstractmethod
    def latents(self, images: Images) -> Latents:
        """The clean latents of images in [0, 1], for offline data."""

    @abstractmethod
    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """The family's time grid, from its first t (at most 1) down to 0, float64 on the CPU."""

    def sized(self, size: Mapping[str, Any]) -> "Policy":
        """The same model for images of another size: it has this one's `weights`, not copies.

        `size` has all of `sizes`, as the constructor takes them. By default there are none.

        Raises:
            ValueError: the model cannot make images of this size.
            NotImplementedError: it names sizes and makes images of one.
        """
        raise NotImplementedError(f"{type(self).__name__} makes images of one size")

    def ready(self) -> None:  # noqa: B027
        """Called once an engine has cut a network that waited for it: see `zoo.policy.waiting`.

        What the policy looks at with the network's numbers it then does; by default nothing.
        """

    def findings(self) -> Mapping[str, Any]:
        """What was found of the model as it was loaded, for a run's records; as JSON can hold it.

        A run that goes on with a model of which other things are found is refused. `EXACT` is no
        part of what is shown.
        """
        return {}

    @classmethod
    def tiny_kind(cls, options: Mapping[str, Any]) -> str:
        """Which of several tiny models these options ask for; by default there is one at most."""
        return ""

    def encoder_bytes(self) -> int | None:
        """What its text encoders take, where they are on the device only while they encode.

        They are in the host's memory else. Asked on the device meta, where it counts nothing that
        is held there, for `zoo check`. None, the default, is not known.
        """
        return None

    @classmethod  # noqa: B027
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks whether a model can be loaded with these options, and loads no weights.

        By default it can. What must first be fetched is not looked for.

        Raises:
            ValueError: what is missing or wrong, and the fix.
        """

    @classmethod
    def makes(cls, options: Mapping[str, Any]) -> Makes | None:
        """What it makes with these options, where they say it; loads no weights. Default: unknown.

        Raises:
            ValueError: there is no such model.
        """
        return None

    @classmethod
    def shipped(cls, options: Mapping[str, Any]) -> Path | None:
        """The file or folder of its package that is the model with these options; none by default.

        A run remembers its content, for another version of the package may have another.
        """
        return None

    def write_rest(self, folder: Path) -> None:  # noqa: B027  (by default there is none)
        """Writes what a published model has beside its network into a folder, for an export."""

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """How much of a prompt each text encoder reads, where that is known; loads no weights.

        `options` are the constructor's. By default nothing is known: nobody is told of a prompt
        that is cut.

        Raises:
            ValueError: a tokenizer cannot be had.
        """
        return ()

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes random weights, small and in the published layout; gives the options to load them.

        For tests and `--tiny`: the usual loader reads them. By default there are none to write. A
        policy with several takes `tiny_kind`'s answer as another argument, if it is not empty.
        """
        return {}
