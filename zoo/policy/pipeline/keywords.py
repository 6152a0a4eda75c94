"""The keywords of a pipeline's call: those that a recipe sets for all, and those of a question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo import seeds
from zoo.errors import closest
from zoo.policy.pipeline.contract import Family, Manner
from zoo.policy.pipeline.parts import keywords_of
from zoo.policy.pipeline.questions import Question

_OPTIONS = {
    "width": "resolution",
    "height": "resolution",
    "num_frames": "frames",
    "max_sequence_length": "max_text_tokens",
}
"""The options by the keywords that pipelines have for them."""


@dataclass(frozen=True)
class CallOptions:
    """What a recipe says of every call; None: the pipeline is told nothing.

    `resolution` is of a square, or [width, height]; `negative` the prompt that guidance leads away
    from, and `call` further keywords.
    """

    resolution: int | tuple[int, int] | None
    frames: int | None = None
    max_text_tokens: int | None = None
    negative: str = ""
    call: Mapping[str, Any] | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height, where they are said."""
        side = self.resolution
        return (side, side) if isinstance(side, int) else side

    def sized(self, size: Mapping[str, Any]) -> "CallOptions":
        """The same for pictures or videos of another size."""
        return replace(self, resolution=size["resolution"], frames=size.get("frames"))

    def keywords(self, cls: Any, family: Family) -> dict[str, Any]:
        """What every call of a pipeline of that class is given.

        Raises:
            ValueError: it takes no such keyword.
        """
        width, height = self.size or (None, None)
        given = {"width": width, "height": height, "num_frames": self.frames}
        given |= {"max_sequence_length": self.max_text_tokens}
        keywords = {key: value for key, value in given.items() if value is not None}
        keywords |= {**family.call, **(self.call or {})}
        takes = keywords_of(cls)
        for keyword in keywords:
            if keyword not in takes:
                option = _OPTIONS.get(keyword, f"call.{keyword}")
                guess = "" if keyword in _OPTIONS else closest(keyword, list(takes))
                raise ValueError(
                    f"{cls.__name__} takes no '{keyword}'{guess}; write policy.{option}: null"
                )
        return keywords


@dataclass(frozen=True)
class CallKeywords:
    """Of a pipeline whose call `takes` them: `fixed` are those of every call.

    `negative` is the prompt that guidance leads away from, `image` any that a prompt may have.
    """

    takes: Mapping[str, Any]
    family: Family
    fixed: Mapping[str, Any]
    negative: str
    image: Any

    def of(self, q: Question, manner: Manner) -> dict[str, Any]:
        """A question to a pipeline that is asked in this manner."""
        kwargs: dict[str, Any] = {
            "prompt": _texts(q.prompts),
            "num_inference_steps": q.steps,
            "output_type": "pt" if q.until == "end" else "latent",
            # The same every time, and the global state is left alone.
            "generator": seeds.generator(0, "pipeline"),
            "return_dict": False,
            **self.fixed,
        }
        if self.image is not None:
            given = None if q.encoded is None else q.encoded.images
            images = self.image if given is None else given
            kwargs["image"] = [images] * len(q.prompts) if manner.batching == "each" else images
        if manner.by_keyword:
            kwargs |= dict(zip(self.family.states, q.latents, strict=False))
        if q.guidance is not None:
            kwargs["negative_prompt"] = _texts([self.negative] * len(q.prompts))
        if manner.guided_by is not None and manner.guided_by != "guider":
            kwargs[manner.guided_by] = manner.off if q.guidance is None else q.guidance
        return {key: value for key, value in kwargs.items() if key in self.takes}

    def shared(self) -> list[Any]:
        """All that every question to the pipeline has in common; of images, their sizes."""
        images = self.image if isinstance(self.image, list) else [self.image]
        sizes = [getattr(image, "size", None) for image in images]
        return [self.fixed, self.negative, sizes]


def _texts(texts: Sequence[str]) -> str | list[str]:
    """One as it is: some pipelines take no list."""
    return texts[0] if len(texts) == 1 else list(texts)
