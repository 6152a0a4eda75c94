"""What a pipeline was found to do: how it is asked, and what it hands to its networks in a step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge
from jaxtyping import Float
from torch import Size, Tensor

from zoo.policy.pipeline.part import Part
from zoo.policy.pipeline.trees import Axes, Path


class UnsupportedError(ValueError):
    """A pipeline that does not keep the contract; says what it did instead."""


Batching = Literal["together", "each", "alone"]
"""Several prompts with one image, with one each, or a prompt a run."""


@dataclass(frozen=True)
class Family:
    """What a pipeline cannot be asked. The defaults fit most; recipes may say it as well."""

    targets: tuple[str, ...] = ()
    """The ends of the names of layers with LoRA; none: all linear ones of attention in blocks."""
    guidance: str | None = None
    """The keyword of classifier-free guidance; else `true_cfg_scale`, or `guidance_scale`."""
    call: Mapping[str, Any] = field(default_factory=dict)
    """Further keywords of every call of the pipeline."""
    inputs: Annotated[int, Ge(0)] = 0
    """The images that a prompt must have, to be edited or animated."""
    states: tuple[str, ...] = ("latents",)
    """The keywords of what is denoised; of several, the latent is one flat row."""
    wide: tuple[str, ...] = ()
    """The parts that are float32 whatever the type of the others is."""


@dataclass(frozen=True)
class Manner:
    """How a pipeline is asked."""

    guided_by: str | None
    """The keyword of guidance; `guider` is a part instead; None: there is no guidance."""
    off: float = 1.0
    """Its value for none."""
    by_keyword: bool = True
    """Whether the latents of its keyword are those that it steps."""
    batching: Batching = "together"
    part: Part | None = None
    """What of the latents that it prepares it moves, where that is not all of them."""
    narrow: Mapping[str, frozenset[Path]] = field(default_factory=dict)
    """The arguments of each network that the pipeline gives it in the network's own type."""


@dataclass(frozen=True)
class Pass:
    """One call of the network of that name in a step.

    `rows` and `out_rows` are the axes of rows in what it takes and gives. `time` has the arguments
    that are a + b t of the scheduler's t, `latents` those that depend on the latents. The rows are
    in equal portions, and `told` says of each whether the prompt reaches it.
    """

    name: str
    rows: Axes
    out_rows: Axes
    time: Mapping[Path, tuple[Float[Tensor, "..."], Float[Tensor, "..."]]]
    latents: frozenset[Path]
    told: tuple[bool, ...]


@dataclass(frozen=True)
class Contract:
    """All that was found of a pipeline.

    `passes` are those of a step, by the network that it comes to first and whether it is guided.
    What pipelines add to a usual guidance scale, of which 1 is none, is `offset`; None: there is no
    guidance. `boundary` is the t of two experts' border. `encoded` has the axes of rows of what
    `encode_prompt` gives, unguided and guided; where that depends on no other prompt, it is
    `independent`.
    """

    pipeline: str
    manner: Manner
    shapes: tuple[tuple[int, ...], ...]
    passes: Mapping[tuple[str, bool], tuple[Pass, ...]]
    offset: float | None
    boundary: float | None
    encoded: Mapping[bool, Axes]
    independent: bool

    @property
    def told(self) -> frozenset[str]:
        """The networks that a prompt reaches: others see no gradient."""
        every = (one for passes in self.passes.values() for one in passes)
        return frozenset(one.name for one in every if any(one.told))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one state its shape; several are one flat row."""
        if len(self.shapes) == 1:
            return self.shapes[0]
        return (sum(Size(shape).numel() for shape in self.shapes),)

    def describe(self) -> dict[str, Any]:
        """In words and numbers, as JSON can hold it."""
        found: dict[str, Any] = {
            "pipeline": self.pipeline,
            "latents": [list(shape) for shape in self.shapes],
            "guidance": self._guidance(),
            "prompts": {
                "together": "a batch, with one image",
                "each": "a batch, with an image for each",
                "alone": "one prompt a call",
            }[self.manner.batching],
            "embeddings": "of each prompt by itself" if self.independent else "of a batch together",
        }
        if self.manner.part is not None:
            found["keeps"] = self.manner.part.describe()
        if self.boundary is not None:
            found["experts"] = f"the first from t = 1 to {self.boundary:.4g}, the other below"
        for (name, guided), passes in self.passes.items():
            key = f"{name}, guided" if guided else name
            found[key] = [_words(one) for one in passes]
        return found

    def _guidance(self) -> str:
        if self.offset is None:
            return "none"
        added = "" if not self.offset else f" {self.offset:+g}"
        return f"{self.manner.guided_by}: the scale{added}, {self.manner.off:g} is none"


def _words(one: Pass) -> dict[str, Any]:
    return {
        "latents": sorted(map(_name, one.latents)),
        "time": {_name(path): f"{_range(a)} + {_range(b)} t" for path, (a, b) in one.time.items()},
        "rows": {_name(p): "list" if axis < 0 else axis for p, axis in one.rows.items()},
        "branches": ["prompt" if told else "without" for told in one.told],
    }


def _name(path: Path) -> str:
    return ".".join(map(str, path[1:] if len(path) > 1 else path))


def _range(value: Tensor) -> str:
    low, high = float(value.min()), float(value.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
