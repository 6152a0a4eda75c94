"""The Reward interface: images and prompts in, one number an image out, higher is better."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from zoo.data.text_limit import TextLimit
from zoo.prompt import Prompt

Images = Float[Tensor, "batch 3 height width"]
Videos = Float[Tensor, "batch frames 3 height width"]
ImagesOrVideos = Float[Tensor, "batch *frames 3 height width"]
Features = Float[Tensor, "batch features"]
PerImage = Float[Tensor, " batch"]
"""A number for each image, or for each video."""


@dataclass(frozen=True)
class Scores:
    """A reward's values with further numbers that are recorded beside them and not trained on."""

    value: PerImage
    extras: Mapping[str, PerImage] = field(default_factory=dict)
    """By name: the metric `reward/LABEL/NAME` is their mean."""


@dataclass(frozen=True)
class KnownAnswer:
    """Images whose scores are known, to see that a reward works where it was installed.

    The images are in [0, 1]; `tolerance` is absolute.
    """

    images: ImagesOrVideos
    prompts: Sequence[Prompt]
    scores: PerImage
    tolerance: float


@dataclass(frozen=True)
class NetworkBytes:
    """What a reward's networks take of the run's device.

    They are there for the whole run, or `off` it and in the host's memory: always, or while they
    rest.
    """

    size: int
    off: Literal["never", "resting", "always"] = "never"


class Reward(ABC):
    """Scores images; NaN says that one could not be scored: it is left out, never counted as 0.

    An image's score depends on that image and its prompt alone, unless `groupwise`. A constructor
    takes the device as its only positional argument, or nothing: `def __init__(self, device, /,
    *, option: type = default)`.
    """

    groupwise: ClassVar[bool] = False
    """True: called once for each whole prompt group, all its images together."""

    reads_pixels: ClassVar[bool] = True
    """False: it scores by prompts alone, and may be given images without pixels: [batch, 3, 0, 0].

    Stored images are then not decoded for it.
    """

    takes: ClassVar[Literal["images", "videos", "both"]] = "images"
    """What it is given: [batch, 3, H, W], [batch, frames, 3, H, W], or either.

    One of images looks at videos frame by frame, where a recipe says `frames` beside its name.
    """

    least_frames: ClassVar[int] = 1
    """How many frames of a video it needs to give a score."""

    has_networks: ClassVar[bool] = True
    """False: `network_bytes` are 0; where it is True they are not known unless it says them."""

    chosen_by: ClassVar[tuple[str, ...]] = ()
    """Options that say which reward it is, and not how it is run: a function's path, an address."""

    @abstractmethod
    def score(self, images: ImagesOrVideos, prompts: Sequence[Prompt]) -> PerImage | Scores:
        """A score for each image in [0, 1].

        The images are the run's, and other rewards score them at the same time: change a copy.
        """

    def features(self, images: Images) -> Features:
        """What its network sees in images in [0, 1], for `nearest`; by default there is nothing.

        Raises:
            NotImplementedError: it has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no features of images")

    @classmethod  # noqa: B027
    def check_prompt(cls, prompt: Prompt, options: Mapping[str, Any]) -> None:
        """Looks whether images of a prompt can be scored, before anything is loaded.

        `options` are the constructor's, as the recipe has them. By default any prompt will do.

        Raises:
            PromptError: what the prompt lacks.
        """

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """How much of a prompt is read, where that is known; loads no weights.

        `options` as in `check_prompt`. By default nothing is known: nobody is told of a prompt that
        is cut.

        Raises:
            ValueError: a tokenizer cannot be had.
        """
        return ()

    @classmethod  # noqa: B027
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks whether it can be made with these options, and loads no weights. By default yes.

        `zoo check` asks it. What must first be fetched is not looked for.

        Raises:
            ValueError: what is missing or wrong, and the fix.
        """

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes | None:
        """What its networks will take, for `zoo check`; loads no weights. By default not known."""
        return None if cls.has_networks else NetworkBytes(0)

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Images with the scores that they must get, asked before a run; none by default."""
        return ()

    def interrupt(self) -> bool:
        """Makes a `score` that takes too long raise soon; whether that can be done at all.

        Called from another thread than the one that it hangs in; afterwards the reward must be able
        to score again.
        """
        return False

    def rest(self) -> None:  # noqa: B027  (most have nothing to do)
        """Called where nothing will be scored for a while: a model may leave its device."""

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes random weights, small and in the published layout; gives the options to load them.

        For tests and `--tiny`: the usual loader reads them. By default there are none to write.
        """
        return {}
