"""Tiny random pipelines of diffusers, by the name of their class: built, and written to a folder."""

from pathlib import Path
from typing import Any

from zoo import seeds
from zoo.policy.tiny_pipelines.call import TinyCall, tiny_call
from zoo.policy.tiny_pipelines.components import components


def build_tiny(pipeline: str) -> Any:
    """A pipeline of that class of diffusers with small random components; the same every time.

    Raises:
        ValueError: diffusers has no such pipeline.
        NotImplementedError: there is no tiny component of a class that it is made of.
    """
    import diffusers

    cls: Any = getattr(diffusers, pipeline, None)
    if cls is None:
        raise ValueError(f"diffusers {diffusers.__version__} has no pipeline '{pipeline}'")
    with seeds.borrowed(0, f"tiny {pipeline}"):
        return cls(**components(cls))


def write_tiny_pipeline(pipeline: str, folder: Path) -> TinyCall:
    """Writes that pipeline in diffusers' layout, and says what its call needs.

    Raises:
        ValueError: diffusers has no such pipeline.
        NotImplementedError: there is no tiny component of a class that it is made of.
    """
    built = build_tiny(pipeline)
    folder.mkdir(parents=True, exist_ok=True)
    built.save_pretrained(folder)
    return tiny_call(built)
